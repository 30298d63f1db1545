"""What AWS's errors mean; imported only where AWS's libraries are in use."""

import re
from random import random
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
from botocore import exceptions as aws

from stedi_assets.lakehouse.duckdb_sql import is_of_http
from stedi_assets.lakehouse.faults import Explanation, register
from stedi_assets.lakehouse.names import display_name

PLACE = "stedi.place"
"""Key of an error response with the bucket and key, or the table, that was asked for."""

_LONGEST_PAUSE = 20
"""Seconds between two tries at most, as in botocore."""


def remember_place(client: Any) -> None:
    """Let a client's errors name what was asked for: AWS's answers do not."""

    def remember(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[PLACE] = _place(params)

    def attach(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if "Error" in parsed:
            parsed["Error"][PLACE] = context.get(PLACE, "")

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parameter-build.{service}", remember)
    client.meta.events.register(f"after-call.{service}", attach)


def _place(params: dict[str, Any]) -> str:
    if "Bucket" in params:
        return f"s3://{params['Bucket']}/{params.get('Key', params.get('Prefix', ''))}"
    table = params.get("Name") or params.get("TableInput", {}).get("Name", "")
    return ".".join(filter(None, (params.get("DatabaseName"), table)))


def retry_cut_answers(client: Any, attempts: int) -> None:
    """Let a client of Glue ask again if an answer is cut off: botocore takes it for an empty one.

    S3 does not need this: cut XML cannot be parsed, and the length of an object is known.
    """

    def pause(response: tuple[Any, Any] | None, **state: Any) -> float | None:
        attempt: int = state["attempts"]
        retry = response and _missing(response[0]) and attempt < attempts
        return random() * min(2**attempt, _LONGEST_PAUSE) if retry else None

    def refuse(http_response: Any, **_: Any) -> None:
        if missing := _missing(http_response):
            received = len(http_response.content)
            raise aws.IncompleteReadError(actual_bytes=received, expected_bytes=received + missing)

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"needs-retry.{service}", pause)
    client.meta.events.register(f"after-call.{service}", refuse)


def _missing(answer: Any) -> int:
    """Bytes of an answer that did not arrive."""
    return max(0, int(answer.headers.get("Content-Length", 0)) - len(answer.content))


_NO_PERMISSION = (
    "AWS refused {asked}: the credentials lack a permission. deploy/lakehouse.yaml has what each "
    "role needs."
)
_BAD_CREDENTIALS = (
    "AWS does not accept the credentials ({code}): they are wrong or have expired. Log in again, "
    "or mend AWS_PROFILE or the keys."
)
_BUSY = "AWS was too busy for {asked} over several tries ({code}); nothing is lost: refresh again."
_AT_ONCE = (
    "Another refresh wrote to {place} at the same time ({code}); nothing is lost: refresh again."
)
_ELSEWHERE = "The bucket {bucket} is in another region: set AWS_DEFAULT_REGION to it."
_GONE = "{place} is needed but no longer there: refresh again, or restore it."
_ANSWERS = {
    "AccessDenied": _NO_PERMISSION,
    "AccessDeniedException": _NO_PERMISSION,
    "AllAccessDisabled": _NO_PERMISSION,
    "403": _NO_PERMISSION,
    "AuthFailure": _BAD_CREDENTIALS,
    "ExpiredToken": _BAD_CREDENTIALS,
    "ExpiredTokenException": _BAD_CREDENTIALS,
    "IncompleteSignature": _BAD_CREDENTIALS,
    "InvalidAccessKeyId": _BAD_CREDENTIALS,
    "InvalidClientTokenId": _BAD_CREDENTIALS,
    "InvalidSignatureException": _BAD_CREDENTIALS,
    "InvalidToken": _BAD_CREDENTIALS,
    "SignatureDoesNotMatch": _BAD_CREDENTIALS,
    "UnrecognizedClientException": _BAD_CREDENTIALS,
    "RequestTimeTooSkewed": "AWS refused {asked}: the clock of this machine is wrong.",
    "NoSuchBucket": (
        "There is no bucket {bucket}: make it, or mend STEDI_LAKEHOUSE or STEDI_LANDING."
    ),
    "NoSuchKey": _GONE,
    "404": _GONE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "PermanentRedirect": _ELSEWHERE,
    "301": _ELSEWHERE,
    "AlreadyExistsException": _AT_ONCE,
    "ConcurrentModificationException": _AT_ONCE,
    "429": _BUSY,
    "500": _BUSY,
    "502": _BUSY,
    "503": _BUSY,
    "504": _BUSY,
    "InternalError": _BUSY,
    "InternalServiceException": _BUSY,
    "OperationTimeoutException": _BUSY,
    "ProvisionedThroughputExceededException": _BUSY,
    "RequestLimitExceeded": _BUSY,
    "RequestTimeout": _BUSY,
    "ServiceUnavailable": _BUSY,
    "SlowDown": _BUSY,
    "Throttling": _BUSY,
    "ThrottlingException": _BUSY,
    "TooManyRequestsException": _BUSY,
}
"""What to say, by error code; a new code is a line here."""

_UNKNOWN = "{what}. See what this means in AWS's documentation; what is published stays."
_ERRORS: dict[tuple[type[Exception], ...], str] = {
    (aws.NoRegionError,): "There is no AWS region: set AWS_DEFAULT_REGION.",
    (aws.ProfileNotFound,): "AWS_PROFILE names a profile that AWS's configuration does not have.",
    (
        aws.NoCredentialsError,
        aws.PartialCredentialsError,
        aws.CredentialRetrievalError,
        aws.TokenRetrievalError,
        aws.SSOError,
    ): (
        "There are no AWS credentials: log in (aws sso login), set AWS_PROFILE, or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or give this machine a role."
    ),
}
_ON_THE_WAY = (aws.ConnectionError, aws.HTTPClientError, aws.IncompleteReadError)


def explain_aws(error: BaseException) -> Explanation | None:
    """Say what an error of AWS, or of the way there, means."""
    match error:
        case aws.ClientError():
            answer, operation = error.response.get("Error", {}), error.operation_name
            code = str(answer.get("Code", ""))
            if (operation, code) == ("HeadObject", "400"):
                code = "ExpiredToken"  # what S3 means by it: an answer to HEAD has no message
            return _explain_answer(code, operation, answer.get(PLACE, ""))
        case aws.BotoCoreError() if isinstance(error, _ON_THE_WAY):
            return _no_answer(str(error.kwargs.get("endpoint_url") or ""))
        case aws.BotoCoreError():
            other = _UNKNOWN.format(what=f"A request to AWS failed with {type(error).__name__}")
            sentences = (text for kinds, text in _ERRORS.items() if isinstance(error, kinds))
            return Explanation(next(sentences, other))
        case duckdb.Error() if is_of_http(error):
            return _explain_engine(error)
        case OSError() if str(error).startswith("smart_open."):  # it tried to read on
            return _no_answer("")
        case _:
            return None


_ADDRESS = re.compile(r"(?:to|reading) '(.+?)'(?: in region|\n|$)|to URL (.+?): ")
_CODE = re.compile(r"<Code>(\w+)</Code>")


def _explain_engine(error: duckdb.Error) -> Explanation:
    """Say what DuckDB met while it read or wrote objects."""
    message = str(error)
    address = _ADDRESS.search(message)
    url = address[1] or address[2] if address else ""
    if isinstance(error, duckdb.HTTPException):
        operation = "reading" if " GET " in message or " HEAD " in message else "writing"
        return _explain_answer(_code(error), operation, _object(url))
    return _no_answer(url)


def _code(error: duckdb.HTTPException) -> str:
    match = _CODE.search(error.body or "")
    return match[1] if match else str(error.status_code)


def _object(url: str) -> str:
    """The S3 URI of an object that DuckDB names by its address, or by that URI."""
    address = urlsplit(url)
    if not address.scheme.startswith("http"):
        return url
    bucket = re.match(r"(.+)\.s3[.-]", address.netloc)
    return f"s3:/{f'/{bucket[1]}' if bucket else ''}{unquote(address.path)}"


def _no_answer(url: str) -> Explanation:
    address = urlsplit(url)
    where = f"{address.scheme}://{address.netloc}" if address.scheme.startswith("http") else "AWS"
    return Explanation(
        f"{where} did not answer over several tries; nothing is lost: check the network, and "
        "AWS_DEFAULT_REGION or the endpoint in the settings, and refresh again.",
        is_transient=True,
    )


def _explain_answer(code: str, operation: str, place: str) -> Explanation:
    sentence = _ANSWERS.get(code, _UNKNOWN.format(what="AWS answered {asked} with {code}"))
    place = display_name(place)
    bucket = place.removeprefix("s3://").split("/")[0]
    request = f"{operation} {place}".strip()
    return Explanation(
        sentence.format(asked=request, code=code, bucket=bucket, place=place),
        is_transient=sentence is _BUSY,
    )


register(explain_aws)
