# SPDX-License-Identifier: GPL-2.0
# For what runs with a time limit.  Shared by run.sh, which has nothing else of ours
# beside it, and by tools/check and tools/run-selftests, through tools/limit.sh:
#
#	trap 'ending STATUS' SIGNAL
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

ending() {	# STATUS
	ended=$1
	# timeout does it with all of its group, and makes sure of it after -k seconds.
	[ -z "$running" ] || kill "$running" 2>/dev/null
}

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
