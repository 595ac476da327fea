#!/usr/bin/env bash
# Writes the report into this action's comment on the pull request, or edits the one that is there.
set -euo pipefail

# A pull request from a fork has a token that only reads: the report is in the job's summary all the same.
gh pr comment "${PULL_REQUEST:?}" --repo "${GITHUB_REPOSITORY:?}" --edit-last --create-if-none \
  --body-file "${REPORTS:?}/report.md" ||
  echo "::notice title=sparsity-audit::no comment could be written; the report is in the job's summary"
