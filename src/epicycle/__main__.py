"""`python -m epicycle` is the same as `epicycle`."""

from epicycle.cli.main import main

raise SystemExit(main())
