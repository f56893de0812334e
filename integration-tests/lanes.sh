# The two lanes in which all tests run at the same time; for `integration-tests/run`. Of each lane one program runs at a time: what
# waits leaves its time to what computes, and no two programs start browsers at once.

# Names of the tests with browsers, one at a time; all others are in the other lane.
browser_tests="browsers client cluster_example custom_handshake echo guide harness interop killed media_room mesh_call page_faults readmes
supervisor_tree templates"

# lane browsers|others: prints the options of `cargo test` that select the tests of a lane. Those of the documentation are in
# neither: cargo runs them with no others.
lane() {
    local name names
    names=$(cargo metadata --no-deps --format-version 1 | python3 -c '
import json, sys
targets = [target for package in json.load(sys.stdin)["packages"] for target in package["targets"]]
print(*sorted({target["name"] for target in targets if target["kind"] == ["test"]}))')
    [ -n "$names" ] || return
    [ "$1" = browsers ] || printf -- '--lib\n--bins\n'
    for name in $names; do
        case " "$(echo $browser_tests)" " in
        *" $name "*) [ "$1" = others ] || printf -- '--test\n%s\n' "$name" ;;
        *) [ "$1" = browsers ] || printf -- '--test\n%s\n' "$name" ;;
        esac
    done
}
