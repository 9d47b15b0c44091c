# SPDX-License-Identifier: GPL-2.0
# What a KTAP log comes to.  Prints "PASSED FAILED SKIPPED ERRORS" (failures of
# which so many belong to no test), says on stderr what failed or was skipped,
# and writes a JUnit testsuite.  Shared by tools/check and by run.sh, which runs
# on machines that have no Python.
#
#	-v name=	of the suite
#	-v status=	exit status of what wrote the log (124, 137: time limit)
#	-v skips=	file with lines "NAME|TEST|REASON", the skips that are no
#			failure (TEST -: the whole suite); or *, all of them
#	-v skip_status=	exit status that says that something was skipped
#	-v xml=		the testsuite goes there
#	-v took=	seconds
#	-v end_of=	file whose end is shown with what went wrong outside of a test
#
# Counted are "ok" and "not ok" lines at the left margin.  No plan, fewer results
# than planned, and a status that no result explains are failures too: no result
# seen is not a pass.

function say(text) {
	print "    " text | "cat >&2"
}

# Not only the five: XML 1.0 has no control characters, and a broken sequence of
# UTF-8 would make all of it unreadable.
function esc(s) {
	gsub(/[\001-\010\013-\037\177-\377]/, "?", s)
	gsub(/&/, "\\&amp;", s)
	gsub(/</, "\\&lt;", s)
	gsub(/>/, "\\&gt;", s)
	gsub(/"/, "\\&quot;", s)
	return s
}

function tail_of(file,   l, n, i, s, keep) {
	if (file == "")
		return ""
	while ((getline l < file) > 0)
		keep[n++ % 20] = l
	close(file)
	for (i = n > 20 ? n - 20 : 0; i < n; i++)
		s = s keep[i % 20] "\n"
	return s
}

# KIND: failure, error (it belongs to no test), skipped, or nothing
function testcase(test, kind, message, text) {
	sub(/[ \t]+#.*/, "", test)
	cases = cases "    <testcase classname=\"" esc(name) "\" name=\"" esc(test) "\""
	if (kind == "") {
		cases = cases "/>\n"
		return
	}
	cases = cases ">\n      <" kind " message=\"" esc(message) "\""
	cases = cases (text == "" ? "/>" : ">" esc(text) "</" kind ">") "\n    </testcase>\n"
}

function bad(text) {
	failed++
	errors++
	say("FAILED: " text)
	testcase(name, "error", text, tail_of(end_of))
}

function listed(test,   l, f, hit) {
	if (skips == "*")
		return 1
	while ((getline l < skips) > 0) {
		if (l ~ /^#/ || split(l, f, "|") < 3)
			continue
		if (f[1] == name && f[2] == test)
			hit = 1
	}
	close(skips)
	return hit
}

function reason(s) {	# of a line that matches "# SKIP"
	match(s, / *# *SKIP */)
	s = substr(s, RSTART + RLENGTH)
	return s == "" ? "no reason" : s
}

# What was said since the last result belongs to the next one.
function lines_that_matter(   i, s) {
	for (i = said > 50 ? said - 50 : 0; i < said; i++)
		s = s line[i % 50] "\n"
	return s
}

/^1\.\.[0-9]+/ { plan = substr($1, 4) + 0; planned++; all = $0 }
/^Bail out!/ { bad($0) }
/^(not )?ok( |$)/ {
	results++
	test = $0
	sub(/^(not )?ok *[0-9]* *-? */, "", test)
	why = ""
	if (test ~ /# *SKIP/) {
		why = reason(test)
		sub(/ *# *SKIP.*/, "", test)
	}
	if ($1 == "not") {
		failed++
		say("FAILED: " test)
		testcase(test, "failure", test, lines_that_matter())
	} else if (why == "") {
		passed++
		testcase(test)
	} else if (why ~ /^base gone/ || listed(test)) {
		skipped++
		if (skips != "*")
			say("skipped: " test " (" why ")")
		testcase(test, "skipped", why)
	} else {
		failed++
		say("FAILED: skipped: " test " (" why ")")
		testcase(test, "failure", "skipped: " why, lines_that_matter())
	}
	said = 0
	next
}
{ line[said++ % 50] = $0 }

END {
	if (planned == 1 && plan == 0 && results == 0 && all ~ /# *SKIP/) {
		why = reason(all)
		if (why ~ /^base gone/ || listed("-")) {
			skipped++
			if (skips != "*")
				say("skipped: " why)
			testcase(name, "skipped", why)
		} else
			bad("skipped as a whole: " why)
	} else if (planned != 1 || results + 0 == 0)
		bad("no result: " (planned ? "no test ran" : "no plan"))
	else if (results != plan)
		bad("no result: " results " of " plan " tests reported")
	if (status == 124 || status == 137)
		bad("time limit reached")
	else if (status > 128)
		bad("killed by signal " status - 128)
	else if (status != 0 && !failed && !(status == skip_status && skipped))
		bad("exit status " status)
	print passed + 0, failed + 0, skipped + 0, errors + 0
	if (xml == "")
		exit
	printf "  <testsuite name=\"%s\" tests=\"%d\" failures=\"%d\" errors=\"%d\" skipped=\"%d\" time=\"%d\">\n%s  </testsuite>\n", \
		esc(name), passed + failed + skipped, failed - errors, errors, skipped, took, cases >xml
}
