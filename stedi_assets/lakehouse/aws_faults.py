"""What AWS's errors mean; imported only where AWS's libraries are in use."""

from typing import Any
from urllib.parse import urlsplit

from botocore import exceptions as aws

from stedi_assets.lakehouse.faults import Fault

_REFUSED = {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "403"}
_NOT_KNOWN = {
    "AuthFailure",
    "ExpiredToken",
    "ExpiredTokenException",
    "IncompleteSignature",
    "InvalidAccessKeyId",
    "InvalidClientTokenId",
    "InvalidSignatureException",
    "InvalidToken",
    "SignatureDoesNotMatch",
    "UnrecognizedClientException",
}
_BUSY = {
    "500",
    "502",
    "503",
    "504",
    "InternalError",
    "InternalServiceException",
    "OperationTimeoutException",
    "ProvisionedThroughputExceededException",
    "RequestLimitExceeded",
    "RequestTimeout",
    "ServiceUnavailable",
    "SlowDown",
    "Throttling",
    "ThrottlingException",
    "TooManyRequestsException",
}
PLACE = "stedi.place"
"""Key of an error response with the bucket and key, or the table, that was asked for."""


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


_SENTENCES: dict[tuple[type[Exception], ...], str] = {
    (aws.NoRegionError,): "There is no AWS region: set AWS_DEFAULT_REGION.",
    (aws.ProfileNotFound,): ("AWS_PROFILE names a profile that AWS's configuration does not have."),
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
_CONNECTION = (aws.HTTPClientError, aws.ResponseStreamingError, aws.IncompleteReadError)


def explain_aws(error: BaseException) -> Fault | None:
    """Say what an error of AWS, or on the way there, means."""
    if isinstance(error, aws.ClientError):
        return _explain_answer(error.response.get("Error", {}), error.operation_name)
    if isinstance(error, _CONNECTION):
        address = urlsplit(str(error.kwargs.get("endpoint_url") or ""))
        where = f"{address.scheme}://{address.netloc}" if address.netloc else "AWS"
        return Fault(
            f"{where} did not answer over several tries; nothing was published: refresh again.",
            passing=True,
        )
    if isinstance(error, aws.BotoCoreError):
        other = f"A request to AWS failed with {type(error).__name__}."
        sentences = (said for kinds, said in _SENTENCES.items() if isinstance(error, kinds))
        return Fault(next(sentences, other))
    return None


def _explain_answer(answer: dict[str, Any], operation: str) -> Fault:
    code, place = str(answer.get("Code", "")), answer.get(PLACE, "")
    asked = f"{operation} {place}".strip()
    if code == "NoSuchBucket":
        bucket = place.removeprefix("s3://").split("/")[0]
        return Fault(
            f"There is no bucket {bucket}: make it, or mend STEDI_LAKEHOUSE or STEDI_LANDING."
        )
    if code in _REFUSED:
        return Fault(
            f"AWS refused {asked}: the credentials lack a permission. deploy/lakehouse.yaml has "
            "what each role needs."
        )
    if code in _NOT_KNOWN:
        return Fault(
            f"AWS does not accept the credentials ({code}): they are wrong or have expired. Log in "
            "again, or mend AWS_PROFILE or the keys."
        )
    if code in _BUSY:
        return Fault(
            f"AWS was too busy for {asked} over several tries ({code}); nothing was published: "
            "refresh again.",
            passing=True,
        )
    return Fault(f"AWS answered {asked} with {code}.")
