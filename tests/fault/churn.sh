#!/usr/bin/env bash
# Random requests and random harm: tests/fault/churn.sh [--seconds N] [--seed N]
cd "$(dirname "$0")/../.." && exec python3 tests/fault/churn.py --weft "${WEFT:-build/weft}" "$@"
