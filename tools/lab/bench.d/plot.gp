# SPDX-License-Identifier: GPL-2.0
# gnuplot -e "data='x.tsv'; out='x.svg'; head='...'; unit='...'; n=LINES" plot.gp
#
# The first column of data is the size in MiB, the others are a line each, with
# its name at the top.
set terminal svg size 900,600 dynamic background "white" font "sans,13"
set output out
set datafile separator "\t"
set datafile missing "-"
set title head
set logscale xy
set format y "%.0s%c"
set xlabel "size in MiB"
set ylabel unit
set grid
set key outside right top noenhanced
# To be told apart on white and, in the report, on black.
array colours[8] = ["#2f7fd6", "#c8690a", "#1f9150", "#a05bd0", "#dc4a4a", "#128f9b", "#7d828a", "#cf4f96"]
do for [i=1:8] { set linetype i linecolor rgb colours[i] }
set linetype cycle 8
plot for [i=2:n+1] data using 1:i with linespoints linewidth 1.5 pointsize 0.6 title columnheader(i)
