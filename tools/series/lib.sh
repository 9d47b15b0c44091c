# SPDX-License-Identifier: GPL-2.0
# Shared by tools/series/* and tools/lab/*; source it, do not run it:
#
#	. "${0%/*}/../series/lib.sh"
#
# Progress goes to stderr, so that stdout is free for a tool's answer.

# Messages that scripts look at, sorting and dates must not depend on the
# user's language.
LC_ALL=C
export LC_ALL

# Exit statuses, the same in every tool.
EX_FAIL=1	# a test failed, a splat was seen
EX_USAGE=2	# bad usage or environment: tool, root, space, patch, tree
EX_GONE=3	# the base cannot be had any more
EX_DIED=4	# the kernel died
EX_NORESULT=5	# no result: hang, time limit, no KTAP

# Shell built-ins only: with a tool missing (or PATH empty), the message must
# still come from need().
case $0 in
*/*)	TOP=${0%/*} ;;
*)	TOP=. ;;
esac
TOP=$(CDPATH='' cd "$TOP" && while [ ! -f tools/series/lib.sh ] && [ "$PWD" != / ]; do cd ..; done; pwd)
BUILD=${BUILD:-$TOP/build}
# As the user sees them from where he is: tools go to other folders.
case $BUILD in
/*)	;;
*)	BUILD=$PWD/$BUILD ;;
esac
case ${DEBIAN_KEYRING:-/} in
/*)	;;
*)	DEBIAN_KEYRING=$PWD/$DEBIAN_KEYRING ;;
esac
PATCHES_DIR=${PATCHES_DIR:-$TOP/patches}
LOGS=$BUILD/logs
ME=${0##*/}

say() {		# MSG: one line of progress
	printf '%s\n' "$*" >&2
}

step() {	# N TOTAL MSG: one numbered step
	_n=$1; _t=$2; shift 2
	printf '[%s/%s] %s\n' "$_n" "$_t" "$*" >&2
}

die() {		# STATUS MSG: end with a message
	_st=$1; shift
	printf '%s: %s\n' "$ME" "$*" >&2
	exit "$_st"
}

# Kbuild takes both for separators, and says so late and in other words.
case $TOP$BUILD$PATCHES_DIR in
*[[:space:]:]*)	die $EX_USAGE "there is a blank or a colon in '$TOP' or '$BUILD', and the kernel does not build there: move the folder to a path without" ;;
esac

# A switch in the environment (OFFLINE, FULL, DOCS, ALL, FORCE, DEBUG_INFO; and in the
# Makefile FRESH and README) is off if it is empty or 0, and on if it is anything else.
on() {		# VALUE
	case $1 in
	''|0)	return 1 ;;
	esac
}

need() {	# TOOL PACKAGE: the tool must be there
	command -v "$1" >/dev/null 2>&1 ||
		die $EX_USAGE "missing tool '$1': apt-get install ${2:-$1} (or run tools/series/packages --install)"
}

# df cannot be asked about a directory that is not there yet, so go up until
# one is.  Shell built-ins only around df: the tests empty PATH.
free_mb() {	# DIR: print the megabytes free where DIR is or will be
	_d=$1
	while [ ! -d "$_d" ]; do
		case $_d in
		*/*)	_d=${_d%/*}; [ -n "$_d" ] || _d=/ ;;
		*)	_d=. ;;
		esac
	done
	df -Pm "$_d" | { read -r _; read -r _ _ _ _avail _; echo "$_avail"; }
}

need_space() {	# DIR MB WHAT: die when less than MB megabytes are free
	_f=$(free_mb "$1")
	[ "$_f" -ge "$2" ] ||
		die $EX_USAGE "not enough space in $1 for $3: $2 MB needed, $_f MB free"
}

# For a message about a write that failed: a full disk is the usual cause, and
# then the log is cut off as well.
if_full() {	# DIR: print " (No space left on device ...)" if that is so
	_f=$(free_mb "$1")
	[ "$_f" -ge 5 ] || printf ' (No space left on device: %s MB free in %s)' "$_f" "$1"
}

# Run a command with its output in a log; on failure show the lines that
# matter (else the end of the log) and where the log is.
run_logged() {	# LOG COMMAND...
	_log=$1; shift
	mkdir -p "${_log%/*}" || die $EX_USAGE "cannot make ${_log%/*}"
	"$@" >"$_log" 2>&1 </dev/null
	_rc=$?
	[ $_rc -eq 0 ] || show_log "$_log"
	return $_rc
}

show_log() {	# LOG: the lines that matter, and where the rest is
	grep -nE '(error|Error|fatal|No space left|undefined reference|warning):|\*\*\*|^(error|fatal)' "$1" |
		tail -n 15 >&2 || :
	say "--- last lines of $1"
	tail -n 8 "$1" >&2
	say "--- full log: $1"
}

sha256_of() {	# FILE
	sha256sum "$1" | { read -r _h _; echo "$_h"; }
}

kernel_version() {	# DIR, a kernel tree: 6.12.117
	awk '$2 == "=" && ($1 == "VERSION" || $1 == "PATCHLEVEL" || $1 == "SUBLEVEL") { v[$1] = $3 }
		END { print v["VERSION"] "." v["PATCHLEVEL"] "." v["SUBLEVEL"] }' "$1/Makefile"
}

arch_of() {	# CONFIG-FILE, of tools/lab/configs: the architecture that it is for
	_arch=$(sed -n 's/^# ARCH=//p' "$1")
	echo "${_arch:-x86_64}"
}

# The cross compilers of Debian that kernels and tests are built with here.
cross_of() {	# ARCH: the prefix of its tools, nothing for this machine's own; fails if not known
	case $1 in
	x86_64)		;;
	i386)		echo i686-linux-gnu- ;;
	arm64)		echo aarch64-linux-gnu- ;;
	riscv64)	echo riscv64-linux-gnu- ;;
	*)		return 1 ;;
	esac
}

need_cc() {	# [PACKAGES]: sets cc to the compiler, which may have options or a wrapper
	cc=${CC:-gcc}
	need "${cc%% *}" "${1:-gcc}"
}

# Of the body of a message on stdin, the lines of more than 75 columns.  Tags and
# addresses are not to be wrapped.
long_lines() {
	awk '
		/^[A-Z][A-Za-z-]+: / || /^ *[^ ]*:\/\/[^ ]*$/ { next }
		length > 75 { print "line of the body has " length " columns: " $0 }'
}

need_cross() {	# PREFIX
	[ -z "$1" ] || need "${1}gcc" "gcc-${1%-}"
}

selftests() {	# ARCH [PROGRAM...]: builds the test programs, prints where they are
	_cross=$(cross_of "$1") _to=$BUILD/selftests/mm
	[ "$1" = x86_64 ] || _to=$_to-$1
	shift
	need_cross "$_cross"
	_cc=${_cross:+${_cross}gcc}
	CC=${_cc:-${CC:-gcc}} OUT=$_to "$TOP/tools/testing/selftests/build" "$@"
}

# A second tree, so that the developer's keeps its files and their times. Not by
# hard links: an editor may write into a file.
second_tree() {	# LINUX DIR [COMMIT]: at the tag "base", or another commit
	rm -rf "$2"
	mkdir -p "${2%/*}" && cp -a --reflink=auto "$1" "$2" && git -C "$2" worktree prune &&
		git -C "$2" checkout -q -f --detach "${3:-base}"
}
