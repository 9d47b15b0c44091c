# SPDX-License-Identifier: GPL-2.0
# Shared by tools/check and tools/run-selftests; source after series/lib.sh: what they
# run ends with them, see there.
. "$TOP/tools/testing/selftests/limit.sh"

signalled() {	# SIGNAL STATUS
	say "$ME: SIG$1: ending what runs"
	ending "$2"
}
trap 'signalled HUP 129' HUP
trap 'signalled INT 130' INT
trap 'signalled TERM 143' TERM
