"""`python -m atx_assets.cli`: the program `atx` without its installed script."""

import sys

from atx_assets.cli.main import main

sys.exit(main())
