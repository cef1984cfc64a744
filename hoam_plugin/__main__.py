"""`python -m hoam_plugin` is the command `hoam`."""

from hoam_plugin.cli import main

raise SystemExit(main())
