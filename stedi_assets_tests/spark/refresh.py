"""A refresh in a process of its own, as its environment says; fails where it fails."""

import sys

from stedi_assets.settings import Settings
from stedi_assets_tests.support import refresh

if __name__ == "__main__":
    result = refresh(Settings.load())
    passed = [check.passed for check in result.get_asset_check_evaluations()]
    sys.exit(0 if result.success and passed and all(passed) else 1)
