"""`python -m atx_assets.cli`: the program `atx`, where its script is not installed."""

import sys

from atx_assets.cli.main import main

sys.exit(main())
