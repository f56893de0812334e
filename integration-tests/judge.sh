# Verdict on a run of `cargo test`, by its log; for `integration-tests/run`.

# Most failed tests that are run again.
most_repeated=5

# judge LOG STATUS all|no: prints the failures and the number of tests that ran. Fails with cargo's STATUS; after a run
# of all tests, also if none ran or if one was ignored.
judge() {
    local log=$1 status=$2
    say "summary"
    grep -E '^(test|interop:) .* FAILED(:.*)?$|^error: test failed|panicked at' "$log" || true
    awk '/^test result: / { suites++; passed += $4; failed += $6; ignored += $8 }
         END { printf "suites: %d, ignored: %d\n%d passed, %d failed\n", suites, ignored, passed, failed }' "$log"
    if [ "$3" = all ] && [ "$status" -eq 0 ]; then
        grep -q '^test .* \.\.\. ok$' "$log" || { say "no test ran" && status=1; }
        # An ignored test may give a reason.
        ! grep -E '^test .* \.\.\. ignored(,|$)' "$log" || { say "these tests were ignored" && status=1; }
    fi
    return "$status"
}

# worse STATUS STATUS: prints the status of two runs of `cargo test` together. That tests have failed (101) is told only if nothing
# else has.
worse() {
    if [ "$1" -eq 0 ] || { [ "$1" -eq 101 ] && [ "$2" -ne 0 ]; }; then echo "$2"; else echo "$1"; fi
}

# repeat LOG COMMAND...: runs the failed tests of LOG once more, alone, with COMMAND (`cargo test`). Fails if one fails
# again, if too many have failed, or if anything but a test has. What passes is reported as flaky: a fault to mend, in
# the test or in what it tests, but none that hides the result of all other tests.
repeat() {
    local log=$1 target names targets
    shift
    mapfile -t names < <(sed -n 's/^test \(.*\) \.\.\. FAILED$/\1/p' "$log" | sort -u)
    mapfile -t targets < <(sed -n 's/^    `\(-.*\)`$/\1/p' "$log" | sort -u)
    [ ${#names[@]} -gt 0 ] && [ ${#names[@]} -le "$most_repeated" ] || return 1
    # A target without a result of its own has crashed.
    [ "$(grep -c '^test result: FAILED' "$log")" -eq ${#targets[@]} ] || return 1
    say "once more, alone: ${names[*]}"
    for target in "${targets[@]}"; do
        # Of the whole workspace, as before: its packages have more features together than alone.
        # shellcheck disable=SC2086
        "$@" --workspace ${target#-p * } -- --test-threads 1 --exact "${names[@]}" || return 1
    done 2>&1 | tee "$log.again" || return 1
    [ "$(awk '/^test result: / { passed += $4 } END { print passed + 0 }' "$log.again")" -ge ${#names[@]} ] || return 1
    printf 'FLAKY, passed at the second attempt: %s\n' "${names[@]}"
}
