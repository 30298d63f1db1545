"""What the template is tried with."""

import sys
from pathlib import Path
from typing import Any

from stedi_assets import tables as definitions
from stedi_assets.tables.policy import Policy
from stedi_assets_tests.cloudformation import ACCOUNT, REGION
from stedi_assets_tests.support import PROJECT

PROGRAMS = Path(sys.executable).parent


DEPLOY = PROJECT / "deploy"


TEMPLATE = DEPLOY / "lakehouse.yaml"


KMS_KEY = f"arn:aws:kms:{REGION}:{ACCOUNT}:key/11112222-3333-4444-5555-666677778888"


SECRET = f"arn:aws:secretsmanager:{REGION}:{ACCOUNT}:secret:PseudonymKey-AbCdEf"


EMERGENCY = f"arn:aws:iam::{ACCOUNT}:role/emergency"


ADMINISTRATOR = f"arn:aws:iam::{ACCOUNT}:role/administrator"


IOT = f"arn:aws:iam::{ACCOUNT}:role/iot"


AUDITOR = f"arn:aws:iam::{ACCOUNT}:role/auditor"


EVERYTHING: list[dict[str, Any]] = [{"Effect": "Allow", "Action": "*", "Resource": "*"}]


TABLES = [table.table(Policy()) for table in definitions.TABLES]
