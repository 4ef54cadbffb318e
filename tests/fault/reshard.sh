#!/usr/bin/env bash
# Shards come and go in the middle of everything: tests/fault/reshard.sh [--seconds N] [--seed N]
cd "$(dirname "$0")/../.." && exec python3 tests/fault/reshard.py --weft "${WEFT:-build/weft}" "$@"
