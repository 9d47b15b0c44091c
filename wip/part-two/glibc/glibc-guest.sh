#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# In the guest: run the program with the loader and the libc that came along.
exec /lab/libc/ld-linux-x86-64.so.2 --library-path /lab/libc /lab/libc/glibc-stacks "$@"
