"""What AWS's errors mean; imported only where AWS's libraries are in use."""

import re
from random import random
from typing import Any
from urllib.parse import unquote, urlsplit

import duckdb
from botocore import exceptions as aws

from stedi_assets.lakehouse.duckdb_sql import is_of_http
from stedi_assets.lakehouse.faults import Explanation, register
from stedi_assets.lakehouse.names import shown_name

PLACE = "stedi.place"
"""Key of an error response with the bucket and key, or the table, that was asked for."""

_LONGEST_PAUSE = 20
"""Seconds between two tries at most, as in botocore."""


def remember_place(client: Any) -> None:
    """Let a client's errors say what was asked for: AWS's answers do not."""

    def note(params: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        context[PLACE] = _place(params)

    def tell(parsed: dict[str, Any], context: dict[str, Any], **_: Any) -> None:
        if "Error" in parsed:
            parsed["Error"][PLACE] = context.get(PLACE, "")

    service = client.meta.service_model.service_id.hyphenize()
    client.meta.events.register(f"before-parameter-build.{service}", note)
    client.meta.events.register(f"after-call.{service}", tell)


def _place(params: dict[str, Any]) -> str:
    if "Bucket" in params:
        return f"s3://{params['Bucket']}/{params.get('Key', params.get('Prefix', ''))}"
    table = params.get("Name") or params.get("TableInput", {}).get("Name", "")
    return ".".join(filter(None, (params.get("DatabaseName"), table)))


def retry_cut_answers(client: Any, attempts: int) -> None:
    """Let a client of Glue ask again where an answer ends early: botocore finds it empty instead.

    S3 needs none of this: half an XML is none, and what is read knows its length.
    """

    def pause(response: tuple[Any, Any] | None, **known: Any) -> float | None:
        tried: int = known["attempts"]
        again = response and _missing(response[0]) and tried < attempts
        return random() * min(2**tried, _LONGEST_PAUSE) if again else None

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
_NOT_KNOWN = (
    "AWS does not accept the credentials ({code}): they are wrong or have expired. Log in again, "
    "or mend AWS_PROFILE or the keys."
)
_BUSY = "AWS was too busy for {asked} over several tries ({code}); nothing is lost: refresh again."
_AT_ONCE = (
    "Another refresh wrote to {place} at the same time ({code}); nothing is lost: refresh again."
)
_ELSEWHERE = "The bucket {bucket} is in another region: set AWS_DEFAULT_REGION to that."
_GONE = "{place} was needed and is not there any more: refresh again, or bring it back."
_ANSWERS = {
    "AccessDenied": _NO_PERMISSION,
    "AccessDeniedException": _NO_PERMISSION,
    "AllAccessDisabled": _NO_PERMISSION,
    "403": _NO_PERMISSION,
    "AuthFailure": _NOT_KNOWN,
    "ExpiredToken": _NOT_KNOWN,
    "ExpiredTokenException": _NOT_KNOWN,
    "IncompleteSignature": _NOT_KNOWN,
    "InvalidAccessKeyId": _NOT_KNOWN,
    "InvalidClientTokenId": _NOT_KNOWN,
    "InvalidSignatureException": _NOT_KNOWN,
    "InvalidToken": _NOT_KNOWN,
    "SignatureDoesNotMatch": _NOT_KNOWN,
    "UnrecognizedClientException": _NOT_KNOWN,
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
    """Say what an error of AWS, or on the way there, means."""
    match error:
        case aws.ClientError():
            answer, asked = error.response.get("Error", {}), error.operation_name
            code = str(answer.get("Code", ""))
            if (asked, code) == ("HeadObject", "400"):
                code = "ExpiredToken"  # what S3 means by it; an answer to HEAD has no words
            return _explain_answer(code, asked, answer.get(PLACE, ""))
        case aws.BotoCoreError() if isinstance(error, _ON_THE_WAY):
            return _no_answer(str(error.kwargs.get("endpoint_url") or ""))
        case aws.BotoCoreError():
            other = f"A request to AWS failed with {type(error).__name__}."
            sentences = (known for kinds, known in _ERRORS.items() if isinstance(error, kinds))
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
    found = _CODE.search(error.body or "")
    return found[1] if found else str(error.status_code)


def _object(url: str) -> str:
    """The S3 URI of an object of which DuckDB tells the address, or the URI already."""
    address = urlsplit(url)
    if not address.scheme.startswith("http"):
        return url
    bucket = re.match(r"(.+)\.s3[.-]", address.netloc)
    return f"s3:/{f'/{bucket[1]}' if bucket else ''}{unquote(address.path)}"


def _no_answer(url: str) -> Explanation:
    address = urlsplit(url)
    where = f"{address.scheme}://{address.netloc}" if address.scheme.startswith("http") else "AWS"
    return Explanation(
        f"{where} did not answer over several tries; nothing is lost: see to the network, and to "
        "AWS_DEFAULT_REGION or the endpoint in the settings, and refresh again.",
        is_transient=True,
    )


def _explain_answer(code: str, operation: str, place: str) -> Explanation:
    sentence = _ANSWERS.get(code, "AWS answered {asked} with {code}.")
    place = shown_name(place)
    bucket = place.removeprefix("s3://").split("/")[0]
    asked = f"{operation} {place}".strip()
    return Explanation(
        sentence.format(asked=asked, code=code, bucket=bucket, place=place),
        is_transient=sentence is _BUSY,
    )


register(explain_aws)
