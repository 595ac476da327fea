#!/usr/bin/env bash
# Runs the audit and leaves its reports for the steps that follow; its exit code is an output, not this script's.
set -euo pipefail

reports="${RUNNER_TEMP:?}/sparsity-audit-${GITHUB_RUN_ATTEMPT:-1}-$RANDOM"
mkdir -p "$reports"
command=(sparsity-audit run --format github)

# Options first: a file name that begins with a dash must not become one.
option() { if [ -n "$2" ]; then command+=("$1" "$2"); fi; }
each() {
  local line
  while IFS= read -r line; do
    if [ -n "$line" ]; then command+=(${2:+"$2"} "$line"); fi
  done <<<"$1"
}
option --config "${CONFIG:-}"
option --data "${DATA:-}"
option --data-root "${DATA_ROOT:-}"
option --fail-on "${FAIL_ON:-}"
option --baseline "${BASELINE:-}"
each "${RULES:-}" --rules
each "${ARGS:-}" ""
command+=(
  --json "$reports/report.json" --markdown "$reports/report.md" --html "$reports/report.html"
  --sarif "$reports/report.sarif" --junit-xml "$reports/junit.xml" --
)
each "${MODEL:-}" ""

code=0
"${command[@]}" || code=$?

[ ! -f "$reports/report.md" ] || cat "$reports/report.md" >>"${GITHUB_STEP_SUMMARY:?}"
# Code scanning refuses the file of a session that broke, rather than close alerts that nobody looked at.
sarif=false
if [ "$code" -le 1 ] && [ -f "$reports/report.sarif" ]; then sarif=true; fi
{
  echo "exit-code=$code"
  echo "reports=$reports"
  echo "sarif=$sarif"
  echo "markdown=$([ -f "$reports/report.md" ] && echo true || echo false)"
} >>"${GITHUB_OUTPUT:?}"
