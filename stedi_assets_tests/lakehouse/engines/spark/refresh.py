"""A refresh in a process of its own, as its environment says; fails where it fails."""

import sys

from stedi_assets.settings import Settings
from stedi_assets_tests.support import blocking, refresh

if __name__ == "__main__":
    result = refresh(Settings.load())
    checked = any(result.get_asset_check_evaluations())
    sys.exit(0 if result.success and checked and not blocking(result) else 1)
