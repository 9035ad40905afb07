"""Removes secrets from error messages and log records: passwords in URLs, signatures, tokens and keys.

It recognizes secrets by where they stand and by the forms that services give to their keys, and also replaces the
secrets that this process was given.
"""

import re

MASK = "***"

_SECRET = (
    r"(?:password|passwd|passphrase|pwd|secret|token|sig|signature|credential|jwt"
    r"|api[-_]?key|access[-_]?key|account[-_]?key)"
)

_PATTERNS = (
    # parameters of a URL, such as X-Amz-Signature and sig
    (rf"(?i)([?&;](?:[\w.-]{{0,40}}[-_])?(?:{_SECRET}|key|auth|code)(?:[-_]?id)?=)[^&\s'\"<>#]+", rf"\1{MASK}"),
    (r"(?i)([?&;](?:awsaccesskeyid|googleaccessid)=)[^&\s'\"<>#]+", rf"\1{MASK}"),
    # headers and settings
    (r"(?i)(\bauthorization['\"]?\s*[:=]\s*['\"]?)(?:\w+\s+)?[^\s'\",;]+", rf"\1{MASK}"),
    (r"(?i)(subscription-key['\"]?\s*[:=]\s*['\"]?)[^\s'\",;&]+", rf"\1{MASK}"),
    (r"(?i)(\b(?:set-)?cookie['\"]?\s*:\s*['\"]?)\w[\w.-]*=[^'\"\n]*", rf"\1{MASK}"),
    (r"(?i)(\bbearer\s+)[\w.~+/=-]{6,}", rf"\1{MASK}"),
    (rf"(?i)((?<![a-z]){_SECRET}['\"]?\s*=\s*['\"]?)[^\s'\",;&)]+", rf"\1{MASK}"),
    (rf"(?i)((?<![a-z]){_SECRET}['\"]\s*:\s*['\"])[^'\"]+", rf"\1{MASK}"),
    (r"(?i)(\b(?:password|passwd|api[-_ ]?key(?: provided)?|secret)\s*:\s*)[^\s'\",;)]+", rf"\1{MASK}"),
    # keys of Hugging Face, OpenAI and others, GitHub, GitLab, npm, AWS, Google; private keys; JSON web tokens
    (r"-----BEGIN [A-Z ]{0,30}PRIVATE KEY-----[^-]*", f"-----BEGIN PRIVATE KEY-----{MASK}"),
    (r"\b(?:hf_|sk-|gh[opsu]_|github_pat_|glpat-|npm_|xox[abp]-)[\w-]{8,}", MASK),
    (r"\b(?:AKIA|ASIA)[0-9A-Z]{12,}|\bAIza[\w-]{20,}", MASK),
    (r"\beyJ[\w.-]{14,}", MASK),
)
_AFTER_SCHEME = re.compile(r"(?<=://)(?:(?!://)[^\s'\"<>])+")
_USER_AND_PASSWORD = re.compile(r"[^/?#:]+:(?!\d+[/?#])")
_USER_INFO = re.compile(r"[^/?#]+@")
_MAX_USER_INFO = 400

_MIN_LENGTH = 8
_given: set[str] = set()


def keep_secret(*secrets: str | None) -> None:
    """Replace these secrets in all messages from now on; shorter ones than eight characters occur in words."""
    for secret in secrets:
        parts = (secret, *secret.split(":", 1)[1:]) if secret else ()  # the token of Milvus is user:password
        _given.update(part for part in parts if len(part) >= _MIN_LENGTH)


def redact(text: str) -> str:
    """Return a text with its secrets replaced by ***."""
    for secret in sorted(_given, key=len, reverse=True):
        text = text.replace(secret, MASK)
    text = _AFTER_SCHEME.sub(_mask_user_info, text)
    for pattern, replacement in _PATTERNS:
        text = re.sub(pattern, replacement, text)
    return text


def _mask_user_info(match: re.Match[str]) -> str:
    """Replace user:password or a token before the "@" of a URL; a password may have characters that should be escaped.

    A pattern alone would try each of many colons with each of many ends.
    """
    rest = match[0]
    end = rest.rfind("@", 0, _MAX_USER_INFO) if _USER_AND_PASSWORD.match(rest) else -1
    if end < 0 and (token := _USER_INFO.match(rest)):
        end = token.end() - 1
    return rest if end < 0 else f"{MASK}{rest[end:]}"
