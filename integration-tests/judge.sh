# Verdict on a run of `cargo test`, by its log; for `integration-tests/run`.

# judge LOG STATUS all|no: prints the failures and the number of tests that ran. Fails with cargo's STATUS; after a run
# of all tests, also if none ran or if one was ignored.
judge() {
    local log=$1 status=$2
    say "summary"
    grep -E '^test .* FAILED$|^error: test failed|panicked at' "$log" || true
    awk '/^test result: / { suites++; passed += $4; failed += $6; ignored += $8 }
         END { printf "suites: %d, ignored: %d\n%d passed, %d failed\n", suites, ignored, passed, failed }' "$log"
    if [ "$3" = all ] && [ "$status" -eq 0 ]; then
        grep -q '^test .* \.\.\. ok$' "$log" || { say "no test ran" && status=1; }
        # An ignored test may give a reason.
        ! grep -E '^test .* \.\.\. ignored(,|$)' "$log" || { say "these tests were ignored" && status=1; }
    fi
    return "$status"
}
