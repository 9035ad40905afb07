import pickle

import pytest

from florence_rag import redaction
from florence_rag.cli.error_handling import exit_with
from florence_rag.errors import BatchError, FlorenceError, InputError, MissingExtraError, ModelError, StoreError
from florence_rag.loading.model_options import ModelOptions
from florence_rag.redaction import keep_secret, redact

SECRET = "S3cr3t-Value.42+x"

PLACES = [
    "http://user:{}@host/a.jpg",
    "https://{}@host:8080/a",
    "cannot open 'https://me:{}@[::1]:19530': refused",
    "milvus+grpc://root:{}@10.0.0.1:19530 is away",
    "http://me:p@ss:{}@host/",
    "http://me:pa/ss?{}@host/x",
    "https://b.s3.amazonaws.com/a.jpg?X-Amz-Credential=AKIA%2F1&X-Amz-Signature={}&X-Amz-Expires=60",
    "https://b.s3.amazonaws.com/a.jpg?x-amz-security-token={}",
    "https://acc.blob.core.windows.net/c/a.jpg?sv=2024&sp=r&sig={}",
    "https://storage.googleapis.com/b/a.jpg?X-Goog-Signature={}",
    "https://host/a?access_token={}#page=1",
    "https://host/a?api_key={}",
    "https://host/a?apikey={}&b=1",
    "https://maps.example/a?key={}",
    "https://d.cloudfront.net/a?Signature={}&Key-Pair-Id=K1",
    "headers {{'Authorization': 'Bearer {}'}}",
    "Authorization: Basic {}",
    "Authorization={}",
    "bearer {}",
    "token={}",
    "MILVUS_TOKEN={}",
    '{{"password": "{}"}}',
    '{{"azure_key": 1, "account-key": "{}"}}',
    "AWS_SECRET_ACCESS_KEY={}",
    "AccountName=a;AccountKey={};EndpointSuffix=x",
    "Incorrect API key provided: {}. You can find it",
    "password: {}",
    "Ocp-Apim-Subscription-Key: {}",
    "passphrase={}",
    "Cookie: a=1; session={}; b=2",
    "-----BEGIN RSA PRIVATE KEY-----\n{}\n-----END RSA PRIVATE KEY-----",
]


@pytest.mark.parametrize("place", PLACES)
def test_secrets_are_replaced_wherever_they_stand(place):
    text = place.format(SECRET)
    assert SECRET not in redact(text) and "S3cr3t" not in redact(text) and redaction.MASK in redact(text)
    for kind in (FlorenceError, InputError, ModelError, StoreError):
        error = kind(text)
        assert "S3cr3t" not in f"{error} {error!r} {error.args}"
        assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    "key",
    [
        "hf_AbCdEfGhIjKlMnOpQrStUvWx",
        "sk-proj-abcdef1234567890",
        "ghp_abcdefghijklmnop1234",
        "AKIAIOSFODNN7EXAMPLE",
        "AIzaSyA1234567890abcdefghijklmnop",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.c2lnbmF0dXJl",
    ],
)
def test_keys_of_services_are_recognized_by_their_form(key):
    assert redact(f"the server said {key}, and ended") == "the server said ***, and ended"


@pytest.mark.parametrize(
    "text",
    [
        "https://host:8080/path/@user?page=2&size=10#top",
        "parquet:/p.parquet#row=17&column=image",
        "the text takes 70 tokens, and the model reads at most 64",
        "the tokenizer does not fit, bos_token_id: 5, of the checkpoint: 6",
        "unexpected token: 'between'",
        "mail a@b.example about /photos/key=red/a.jpg",
        "'/photos/token/secret.jpg' cannot be opened: no such file",
        "allowed keys: a, b; the password is wrong",
    ],
)
def test_other_texts_stay(text):
    assert redact(text) == text


def test_secrets_that_were_given_are_replaced_in_any_form(monkeypatch):
    monkeypatch.setattr(redaction, "_given", set())
    ModelOptions(azure_key="0123456789abcdef", openai_key="local-key-of-mine")
    keep_secret("root:long-password", None, "", "short")
    assert redact("got 0123456789abcdef and local-key-of-mine") == "got *** and ***"
    assert redact("user root, long-password, short") == "user root, ***, short"


def test_errors_with_their_own_constructors_are_redacted_too():
    error = BatchError(["a"], {1: "https://u:S3cr3t@h/"})
    assert "S3cr3t" not in str(error) and "items[1]: https://***@h/" in str(error)
    assert MissingExtraError("openpyxl", "office").args


def test_the_command_line_prints_no_secrets_of_other_errors(capsys):
    with pytest.raises(BaseException, match="1"):
        exit_with("Error: [Errno 2] https://u:S3cr3t@h/", 1)
    assert "S3cr3t" not in capsys.readouterr().err


@pytest.mark.timeout(30)
def test_long_texts_take_little_time():
    for part in ("a-", "://", "?a=", "token", "x", "://a:", "-eyJ", "://" + "a:" * 90):
        redact(part * (300_000 // len(part)))
