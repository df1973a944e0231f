import sys

from kthink_core.cli import main

sys.exit(main())
