# SPDX-License-Identifier: GPL-2.0
# Guard region tests; included by the mm selftests' Makefile before lib.mk.

LOCAL_HDRS += $(wildcard $(selfdir)/mm/guard_*.h)
TEST_GEN_FILES += $(patsubst %.c,%,$(wildcard guard_*.c))
