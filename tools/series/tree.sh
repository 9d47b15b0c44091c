# SPDX-License-Identifier: GPL-2.0
# What fetch, apply, export, track, points and audit share; source after lib.sh.
#
# build/NAME/linux is a whole source tree, and also a small git repository that
# tracks only the files which the series touches:
#
#	tag base	one root commit: those files as the base has them
#	branch series	one commit for each patch
#
# All else is ignored by .git/info/exclude, so making it takes no longer than
# unpacking.  .git/guard/ holds our notes about it:
#
#	source		where the tree came from, one line
#	unpacked	a time stamp: what is older is as it was unpacked
#	manifest	the files that were unpacked
#	applied		checksum of the patches and the commit they led to
#	moving		only while apply goes to other commits: where it was

# No setting or environment of the user's may change a patch or stop a tool.
unset GIT_DIR GIT_WORK_TREE GIT_INDEX_FILE GIT_OBJECT_DIRECTORY
export GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 GIT_ATTR_NOSYSTEM=1
export GIT_TERMINAL_PROMPT=0 GIT_EDITOR=true

# Commits that our tools make have these, so that ids are the same everywhere.
# The date is that of the release of Linux 6.12.
BASE_DATE='2024-11-17T22:15:08 +0000'
tool_identity() {
	export GIT_AUTHOR_NAME='guard series' GIT_AUTHOR_EMAIL='series@localhost'
	export GIT_COMMITTER_NAME="$GIT_AUTHOR_NAME" GIT_COMMITTER_EMAIL="$GIT_AUTHOR_EMAIL"
	export GIT_AUTHOR_DATE="$BASE_DATE" GIT_COMMITTER_DATE="$BASE_DATE"
}

tree_init() {	# BASE: set PD (its patches) and LINUX (its tree)
	BASE=$1
	PD=$PATCHES_DIR/$BASE
	[ -n "$BASE" ] && [ -f "$PD/base" ] || die $EX_USAGE \
		"unknown base '$BASE': no $PD/base (known: $(known_bases))"
	[ -z "${KDIR:-}" ] || [ -z "${TARBALL:-}" ] ||
		die $EX_USAGE "KDIR and TARBALL exclude each other"
	NAME=$BASE
	[ -z "${KDIR:-}" ] || NAME=kdir
	[ -z "${TARBALL:-}" ] || NAME=tarball
	LINUX=$BUILD/$NAME/linux
	NOTES=$LINUX/.git/guard
}

known_bases() {
	for _f in "$PATCHES_DIR"/*/base; do
		[ -f "$_f" ] || continue
		_f=${_f%/base}
		printf '%s ' "${_f##*/}"
	done
}

# Two that change the tree at once would each spoil what the other does.  What holds
# the lock starts nothing that takes it.
tree_lock() {	# wait for it; held until the tool ends
	need flock util-linux
	mkdir -p "$BUILD" && exec 8>"$BUILD/$NAME.lock" || die $EX_USAGE "cannot write $BUILD/$NAME.lock"
	flock -n 8 || {
		say "waiting for another apply, track or export to be done with $LINUX"
		flock 8 || die $EX_USAGE "cannot lock $BUILD/$NAME.lock"
	}
}

tree_there() {
	[ -f "$NOTES/unpacked" ] || die $EX_USAGE \
		"no tree at $LINUX: run tools/series/apply $BASE"
}

g() {		# git in the tree
	git -C "$LINUX" "$@"
}

base_get() {	# KEY: the rest of the line(s) of patches/BASE/base with that key
	sed -n "s/^$1 //p" "$PD/base"
}

patch_list() {	# [DIR]: the patches in order, without the cover letter
	for _p in "${1:-$PD}"/[0-9][0-9][0-9][0-9]-*.patch; do
		case ${_p##*/} in
		0000-*)	;;
		*)	[ ! -f "$_p" ] || printf '%s\n' "$_p" ;;
		esac
	done
}

patch_files() {	# the files that the patches touch
	patch_list | while read -r _p; do
		awk '$1 == "diff" && $2 == "--git" {
			sub("^a/", "", $3); print $3
			sub("^b/", "", $4); print $4
		}' "$_p"
	done | sort -u
}

# The files of the base that git has to know: those the patches touch and
# those listed in patches/BASE/base, as far as the tree has them.
wanted_files() {
	{ patch_files; base_get file | cut -d' ' -f2; } | sort -u |
		comm -12 - "$NOTES/manifest"
}

patches_sum() {	# a checksum over all that decides what apply makes
	{
		base_get file | cut -d' ' -f2
		patch_list | while read -r _p; do cat "$_p"; done
	} | sha256sum | cut -d' ' -f1
}

dirty() {	# true if tracked files have changes that are not committed
	[ -n "$(g status --porcelain --untracked-files=no)" ]
}

on_series() {	# HEAD is the branch, and no rebase, am or merge is under way
	[ "$(g symbolic-ref -q HEAD)" = refs/heads/series ]
}

# A file as the base has it, into git; prints "MODE BLOB<tab>PATH" for
# update-index.  A file that git does not know yet may have been edited: then
# it is newer than the unpacking, and the tarball has the original.
base_entry() {	# PATH
	_e=$(g ls-tree base -- "$1" 2>/dev/null)
	if [ -n "$_e" ]; then
		printf '%s\n' "$_e"
		return
	fi
	_m=100644
	if [ -z "$(find "$LINUX/$1" -newer "$NOTES/unpacked" 2>/dev/null)" ] &&
	   [ -f "$LINUX/$1" ]; then
		_src=$LINUX/$1
	else
		say "$1 was edited before git knew it: taking the original from the source"
		original_file "$1" "$NOTES/original"
		_src=$NOTES/original
	fi
	[ ! -x "$_src" ] || _m=100755
	_b=$(g hash-object -w --no-filters "$_src") ||
		die $EX_USAGE "cannot store $1 in git"
	printf '%s blob %s\t%s\n' "$_m" "$_b" "$1"
}

original_file() {	# PATH OUT: the file as the source has it
	read -r _kind _where <"$NOTES/source"
	_where=${_where%%	*}
	case $_kind in
	tarball)
		[ -f "$_where" ] || die $EX_USAGE "$_where is gone: cannot get the original of $1"
		_in=$(tar -tf "$_where" | head -n 1)
		rm -rf "$NOTES/x" && mkdir "$NOTES/x" &&
			tar -C "$NOTES/x" -xf "$_where" "${_in%%/*}/$1" &&
			mv "$NOTES/x/${_in%%/*}/$1" "$2" && rm -rf "$NOTES/x" ||
			die $EX_USAGE "cannot get $1 out of $_where" ;;
	*)
		die $EX_USAGE "$1 was edited before git knew it: undo that first (cp $_where/$1 $LINUX/$1)" ;;
	esac
}

# Exact names are a great deal faster than wildcards.  A file that the series adds
# is not there, which is no error here.
files_of_tarball() {	# TARBALL DIR LOG: those named on stdin, as far as they are there
	_top=$(tar -tf "$1" 2>/dev/null | head -n 1)
	sed "s|^|${_top%%/*}/|" >"$3.list"
	tar -C "$2" --strip-components=1 -xf "$1" -T "$3.list" 2>"$3" ||
		! grep -v -e 'Not found in archive' -e 'Exiting with failure' "$3" >&2
}

make_base() {	# file names on stdin: print the id of the root commit with them
	(
		tool_identity
		GIT_INDEX_FILE=$NOTES/index
		export GIT_INDEX_FILE
		rm -f "$GIT_INDEX_FILE"
		while read -r _p; do base_entry "$_p" || exit 1; done >"$NOTES/entries" &&
		g update-index --index-info <"$NOTES/entries" &&
		_tree=$(g write-tree) &&
		g commit-tree -m 'The files of the base that the series touches' "$_tree"
	) || die $EX_USAGE "cannot make the base commit in $LINUX"
}

# A scratch working tree of the small repository: git am and git rebase work
# there, and the files of the real tree get new time stamps (and so are built
# again) only where they really change.
scratch_add() {	# COMMIT: set SCRATCH
	SCRATCH=$BUILD/$NAME/scratch.$$
	trap 'scratch_drop' EXIT
	trap 'exit 130' INT TERM
	g worktree prune
	g worktree add -q --detach "$SCRATCH" "$1" >&2 ||
		die $EX_USAGE "cannot make a scratch working tree in $BUILD/$NAME"
}

scratch_drop() {
	[ -z "${SCRATCH:-}" ] || {
		rm -rf "$SCRATCH"
		g worktree prune
		SCRATCH=
	}
}

note_applied() {	# COMMIT
	printf '%s %s\n' "$(patches_sum)" "$1" >"$NOTES/applied.new" &&
		mv "$NOTES/applied.new" "$NOTES/applied"
}

# The series in its parts: a heading in patches/BASE/series that names a cover
# letter begins one.  Prints "PART COUNT NUMBER FILE" for each letter (NUMBER 0)
# and patch; PART is - without a letter.
series_parts() {
	[ -f "$PD/series" ] || die $EX_USAGE "no $PD/series: make export BASE=$BASE writes it"
	[ "$(grep -vE '^(#|$)' "$PD/series")" = "$(patch_list | sed 's|.*/||')" ] || die $EX_USAGE \
		"$PD/series is not the list of the patches there: make export BASE=$BASE writes both"
	for _f in "$PD"/0000-*.txt; do
		[ ! -f "$_f" ] || grep -q "^#.*${_f##*/}" "$PD/series" || die $EX_USAGE \
			"no heading in $PD/series names ${_f##*/}: say above its first patch '# ... (${_f##*/})'"
	done
	_list=$(awk '
		/^#/ { above = above $0 "\n"; next }
		/^$/ { next }
		{
			if (match(above, /0000-[^ )]*\.txt/))
				letter[++part] = substr(above, RSTART, RLENGTH)
			file[part + 0, ++n[part + 0]] = $1
			above = ""
		}
		END {
			for (p = 0; p <= part; p++) {
				if (p) print p, n[p], 0, letter[p]
				for (i = 1; i <= n[p]; i++)
					print (p ? p : "-"), n[p], i, file[p, i]
			}
		}' "$PD/series")
	[ -n "$_list" ] || die $EX_USAGE "no patches in $PD"
	for _f in $(echo "$_list" | awk '$3 == 0 { print $4 }'); do
		[ -f "$PD/$_f" ] || die $EX_USAGE "$PD/series names $_f, which is not there"
	done
	echo "$_list"
}

series_version() {	# v1: the newest heading in CHANGES
	_v=$(sed -n 's/^\(v[0-9][0-9]*\)\([ \t].*\)*$/\1/p' "$TOP/CHANGES" 2>/dev/null | head -n 1)
	echo "${_v:-v1}"
}
