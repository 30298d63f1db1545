"""The script of a refresh on EMR, submitted with the ARN of the pseudonym key's secret.

The key comes this way because EMR shows a job's arguments and environment.
"""

import os
import sys

import boto3

from stedi_assets.cli.main import main

secret = boto3.client("secretsmanager").get_secret_value(SecretId=sys.argv[1])
os.environ["STEDI_PSEUDONYM_KEY"] = secret["SecretString"]
sys.argv[1:] = ["refresh"]
main()
