# SPDX-License-Identifier: GPL-2.0
# Shared by tools/check and tools/run-selftests, for what they run with a time limit:
#
#	timeout ... &
#	running $!
#	finish
#
# timeout puts what it runs into a process group of its own, all of which it ends
# when the time is over.  Ctrl-C does not get there, and the group would outlive
# whoever started it.  So it is in the background, where a shell that waits for it
# hears of signals, and they are passed on.
ended=		# the exit status, of a signal that came
running=

running() {	# PID, of a timeout
	running=$1
	[ -z "$ended" ] || kill "$running" 2>/dev/null
}

ending() {	# SIGNAL STATUS
	ended=$2
	say "$ME: SIG$1: ending what runs"
	# timeout does it with all of its group, and makes sure of it after -k seconds.
	[ -z "$running" ] || kill "$running" 2>/dev/null
}
trap 'ending HUP 129' HUP
trap 'ending INT 130' INT
trap 'ending TERM 143' TERM

finish() {	# sets status: its own, or that of a signal that ended it
	wait "$running"
	status=$?
	# The signal ended that wait, not what runs.
	while [ -n "$ended" ] && kill -0 "$running" 2>/dev/null; do
		wait "$running"
		status=$?
	done
	# What is left of the group cares for no SIGTERM.
	[ $status -lt 124 ] || kill -s KILL -- "-$running" 2>/dev/null
	[ -z "$ended" ] || [ $status -eq 0 ] || status=$ended
	running=
}
