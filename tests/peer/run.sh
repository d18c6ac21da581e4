#!/bin/sh
# Speed and memory of moelab beside PyTorch: tests/peer/README.md. Takes $MOELAB and $PYTHON, if set.
here=$(dirname "$0")
if [ -z "$PYTHON" ]; then
	PYTHON=python3
	$PYTHON -c 'import torch' 2>/dev/null || PYTHON=/usr/bin/python3
fi
exec "$PYTHON" -B "$here/compare.py" "$@"
