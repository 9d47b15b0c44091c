# SPDX-License-Identifier: GPL-2.0
# Sourced by checks that boot our kernel, here and in tools/check-full.d.
. tools/series/lib.sh
bail() { echo "Bail out! $1"; exit "$2"; }
unset KDIR TARBALL

our_kernel() {	# CONFIG: sets kernel to the path of the image
	tools/series/apply "$BASE" >/dev/null || bail "no tree" $?
	kernel=$(tools/lab/build "$BASE" "$1") || bail "the kernel does not build" $?
}

everything() {	# CONFIG OPTION...: KUnit and every test program, in one boot
	config=$1; shift
	arch=$(arch_of "tools/lab/configs/$config.config")
	programs=$(selftests "$arch") || bail "the test programs do not build" $?
	our_kernel "$config"
	# What the debug kernel cannot have, the others cannot, if they say no more.
	for expect in "tools/lab/expect/$BASE-$config" "tools/lab/expect/$BASE-debug"; do
		[ -f "$expect" ] || continue
		set -- "$@" --expect "$expect"
		break
	done
	for t in "$programs"/guard_*; do
		set -- "$@" "$t"
	done
	# guard_stress with lockdep takes 140 s on two idle CPUs, and more than 300 s
	# beside two builds: a machine that is slow is no failure.
	exec tools/lab/run --arch "$arch" --name "check-$BASE-$config" --kernel "$kernel" --kunit \
		--test-timeout 600 "$@"
}
