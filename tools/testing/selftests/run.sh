#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# run.sh [-j FILE] [-o DIR] [-t SECONDS] [-l] [PROGRAM...]
#
# Runs the guard region selftests beside it (mm/guard_*) on the kernel that is
# running, all or those named.  KTAP on stdout: one result for each program, with
# the program's own results below it.
#
#	-j FILE		JUnit XML, one testsuite for each program
#	-o DIR		keep what each program printed, as DIR/PROGRAM.ktap
#	-t SECONDS	time limit of one program (300)
#	-l		list the programs
#
# Exit status, as kselftest has it:
#
#	0	what could run has passed (some may have been skipped)
#	1	a test failed, a program was killed, or gave no result
#	2	bad usage, or something is missing here; the message says what
#	4	all was skipped: this kernel has no guard regions, most likely
#	130	Ctrl-C; what there was is in FILE and DIR; 143: SIGTERM
#
# A test that needs root, swap, a disk or a newer kernel is skipped, and says so.
# Tests of file mappings want a folder that is not on tmpfs: GUARD_TEST_DIR=DIR.
# It takes a shell, awk and what else POSIX has; no compiler, no Python.

LC_ALL=C
PATH=${PATH:-/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin}
export LC_ALL PATH

die() {
	echo "run.sh: $*" >&2
	exit 2
}

case $0 in
*/*)	here=${0%/*} ;;
*)	here=. ;;
esac
here=$(CDPATH='' cd "$here" && pwd) || exit 2
programs=${PROGRAMS:-$here/mm}
junit='' keep='' limit=300 list=
while getopts :j:o:t:lh opt; do
	case $opt in
	j)	junit=$OPTARG ;;
	o)	keep=$OPTARG ;;
	t)	limit=$OPTARG ;;
	l)	list=1 ;;
	h)	sed -n '3,/^$/s/^# \{0,1\}//p' "$0"; exit 0 ;;
	*)	die "usage: run.sh [-j FILE] [-o DIR] [-t SECONDS] [-l] [PROGRAM...]; run.sh -h says more" ;;
	esac
done
shift $((OPTIND - 1))
case $limit in
''|*[!0-9]*|0*)	die "-t $limit: not a number of seconds" ;;
esac
for tool in awk sed cat rm mkdir; do
	command -v $tool >/dev/null 2>&1 || die "no $tool in PATH=$PATH"
done
[ $# -gt 0 ] || {
	for p in "$programs"/guard_*; do
		[ ! -f "$p" ] || [ ! -x "$p" ] || set -- "$@" "${p##*/}"
	done
	[ $# -gt 0 ] || die "no programs in $programs: unpack the tar again (make selftests in the repository)"
}
for p; do
	case $p in
	*/*)	die "$p: name programs as run.sh -l does" ;;
	esac
	[ -f "$programs/$p" ] && [ -x "$programs/$p" ] || die "no program $p in $programs; there are: $(cd "$programs" && echo guard_*)"
done
[ -z "$list" ] || { printf '%s\n' "$@"; exit 0; }

# What they were built for, by gcc's name, and the machine, by the kernel's.  A
# 64-bit kernel may run 32-bit programs.
if [ -f "$here/arch" ]; then
	read -r arch <"$here/arch"
	machine=$(uname -m)
	case $arch:$machine in
	"$machine:$machine"|i?86:i?86|i?86:x86_64|arm*:arm*|arm*:aarch64)	;;
	powerpc64le:ppc64le|powerpc64:ppc64|powerpc:ppc|powerpc:ppc64)		;;
	mipsel:mips|mipsel:mips64|mips64el:mips64)				;;
	*)	die "the programs are for $arch, this is $machine" ;;
	esac
fi

tmp=
if [ -n "$keep" ]; then
	mkdir -p "$keep" 2>/dev/null && [ -w "$keep" ] || die "cannot write in $keep (-o)"
	out=$keep
else
	out=${TMPDIR:-/tmp}/guard-kselftest.$$
	tmp=$out
	(umask 077 && mkdir "$out") 2>/dev/null || die "cannot make $out: set TMPDIR to a folder that can be written"
fi
trap 'rm -f "$out/suites"; [ -z "$tmp" ] || rm -rf "$tmp"' EXIT
# A signal ends the program that runs, and leaves out the others.
. "$here/limit.sh"
trap 'ending 130' INT
trap 'ending 143' TERM
if [ -n "$junit" ]; then
	(: >"$junit") 2>/dev/null || die "cannot write $junit (-j)"
fi

# Some have a timeout that knows no -k, some have none.  One that knows --foreground
# has else a process group of its own, where Ctrl-C does not get: it is told, for
# which it must be in the background.  All others must not be there: what a shell
# starts there has Ctrl-C ignored.
timeout='' hangs="may hang" group=
if timeout -k 5 5 true 2>/dev/null; then
	timeout="timeout -k 5 $limit" hangs=
elif timeout 5 true 2>/dev/null; then
	timeout="timeout $limit" hangs=
fi
! timeout --foreground 5 true 2>/dev/null || group=1
[ -z "$hangs" ] || echo "run.sh: no timeout here: a program that hangs has to be ended by hand" >&2

seconds() { date +%s 2>/dev/null || echo 0; }

echo "KTAP version 1"
echo "# $(uname -sr), $(uname -m)"
echo "1..$#"
n=0 passed=0 failed=0 skipped=0 errors=0 took_all=0
: >"$out/suites"
for p; do
	[ -z "$ended" ] || break
	n=$((n + 1))
	ktap=$out/$p.ktap
	start=$(seconds)
	if [ -n "$group" ]; then
		# shellcheck disable=SC2086
		$timeout "$programs/$p" >"$ktap" 2>&1 </dev/null &
		running $!
		finish
	else
		# shellcheck disable=SC2086
		$timeout "$programs/$p" >"$ktap" 2>&1 </dev/null
		status=$?
		[ -z "$ended" ] || [ $status -eq 0 ] || status=$ended
	fi
	took=$(($(seconds) - start))
	took_all=$((took_all + took))
	# Nested KTAP is indented and has a version line of its own.
	sed -e 's/^TAP version 13$/KTAP version 1/' -e 's/^/  /' "$ktap"
	counts=$(awk -v name="$p" -v status=$status -v skips='*' -v skip_status=4 -v took=$took \
		-v end_of="$ktap" -v xml="$out/suite" -f "$here/ktap.awk" "$ktap" 2>"$out/said")
	sed 's/^  */# /' "$out/said"
	cat "$out/suite" >>"$out/suites" || die "cannot write in $out (is it full?)"
	rm -f "$out/suite" "$out/said"
	read -r pass fail skip error <<-END
	$counts
	END
	passed=$((passed + pass)) failed=$((failed + fail)) skipped=$((skipped + skip))
	errors=$((errors + error))
	if [ "$fail" -gt 0 ]; then
		echo "not ok $n $p"
	elif [ "$pass" -eq 0 ]; then
		echo "ok $n $p # SKIP $(sed -n 's/.*# *SKIP *//p' "$ktap" | head -n 1)"
	else
		echo "ok $n $p"
	fi
done
[ -z "$ended" ] || echo "Bail out! ended by a signal"
echo "# Totals: pass:$passed fail:$failed skip:$skipped"
if [ -n "$junit" ]; then
	{
		echo '<?xml version="1.0" encoding="UTF-8"?>'
		echo "<testsuites name=\"guard region selftests\" tests=\"$((passed + failed + skipped))\" failures=\"$((failed - errors))\" errors=\"$errors\" skipped=\"$skipped\" time=\"$took_all\">"
		cat "$out/suites"
		echo '</testsuites>'
	} >"$junit" || die "cannot write $junit (-j)"
fi
[ -z "$ended" ] || { echo "run.sh: ended by a signal: not all was run" >&2; exit "$ended"; }
[ $failed -eq 0 ] || exit 1
[ $passed -gt 0 ] || exit 4
