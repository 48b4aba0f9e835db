"""curl's command line."""

from __future__ import annotations

import argparse
import base64
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_istio.local.images.curl.transfer import CurlError, Transfer
from pytest_istio.local.images.environment import inside

if TYPE_CHECKING:
    from pytest_istio.local.images.curl.transfer import Answer

_HTTP_ERROR = 22
_MAX_REDIRECTS = 50


def main() -> int:
    """Ask for each URL; return curl's exit code."""
    options = _options()
    transfer = _transfer(options)
    code = 0
    for number, url in enumerate(options.urls):
        output = options.output[number] if number < len(options.output) else None
        transfer.log.clear()
        try:
            answer = transfer.run(url)
            code = _show(options, transfer, answer, output)
        except CurlError as error:
            code = error.code
            if options.verbose:
                _to_stderr("\n".join(transfer.log))
            if not options.silent or options.show_error:
                _to_stderr(f"curl: ({code}) {error}")
            _write_out(options.write_out, None, url)
    return code


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="curl", allow_abbrev=False, add_help=False)
    parser.add_argument("urls", nargs="*")
    parser.add_argument("--url", action="append", default=[], dest="more_urls")
    for short, long in (
        ("-s", "--silent"), ("-S", "--show-error"), ("-v", "--verbose"), ("-I", "--head"),
        ("-i", "--include"), ("-L", "--location"), ("-k", "--insecure"), ("-f", "--fail"),
    ):  # fmt: skip
        parser.add_argument(short, long, action="store_true")
    parser.add_argument("-o", "--output", action="append", default=[])
    parser.add_argument("-w", "--write-out", default="")
    parser.add_argument("-H", "--header", action="append", default=[])
    parser.add_argument("-X", "--request", default="")
    parser.add_argument("-d", "--data", "--data-raw", action="append", default=[])
    parser.add_argument("-m", "--max-time", type=float)
    parser.add_argument("--connect-timeout", type=float)
    parser.add_argument("-u", "--user", default="")
    parser.add_argument("-A", "--user-agent", default="")
    parser.add_argument("-b", "--cookie", default="")
    parser.add_argument("--resolve", action="append", default=[])
    options = parser.parse_intermixed_args()
    options.urls += options.more_urls
    if not options.urls:
        parser.error("no URL specified")
    return options


def _transfer(options: argparse.Namespace) -> Transfer:
    headers: dict[str, str] = {}
    if options.user:
        headers["Authorization"] = f"Basic {base64.b64encode(options.user.encode()).decode()}"
    if options.user_agent:
        headers["User-Agent"] = options.user_agent
    if options.cookie:
        headers["Cookie"] = options.cookie
    if options.data:
        headers["Content-Type"] = "application/x-www-form-urlencoded"
    for line in options.header:
        name, _, text = line.partition(":")
        headers = {key: value for key, value in headers.items() if key.lower() != name.strip().lower()}
        headers[name.strip()] = text.strip()
    method = "HEAD" if options.head else "POST" if options.data else "GET"
    return Transfer(
        method=options.request or method,
        headers=headers,
        body="&".join(options.data).encode() if options.data else None,
        insecure=options.insecure,
        follow=_MAX_REDIRECTS if options.location else 0,
        timeout=options.max_time,
        connect_timeout=options.connect_timeout,
        resolve=dict(_resolved(line) for line in options.resolve),
    )


def _resolved(line: str) -> tuple[tuple[str, int], str]:
    host, port, address = line.split(":", 2)
    return (host, int(port)), address.partition(",")[0]


def _show(options: argparse.Namespace, transfer: Transfer, answer: Answer, output: str | None) -> int:
    if options.verbose:
        received = [f"< {line}" for line in answer.head.splitlines()]
        _to_stderr("\n".join([*transfer.log, *received]))
    failed = options.fail and answer.status >= 400  # noqa: PLR2004 - where HTTP's errors begin
    content = b"" if failed else answer.body
    if options.include or options.head:
        content = answer.head.encode() + content
    if output in {None, "-"}:
        sys.stdout.buffer.write(content)
        sys.stdout.buffer.flush()
    else:
        _file(str(output)).write_bytes(content)
    if failed and (not options.silent or options.show_error):
        _to_stderr(f"curl: ({_HTTP_ERROR}) The requested URL returned error: {answer.status}")
    _write_out(options.write_out, answer, answer.url)
    return _HTTP_ERROR if failed else 0


def _file(name: str) -> Path:
    # Devices are the machine's; everything else is the container's.
    return Path(name) if name.startswith("/dev/") or not name.startswith("/") else inside(name)


def _write_out(form: str, answer: Answer | None, url: str) -> None:
    if not form:
        return
    status = f"{answer.status:03}" if answer else "000"
    values = {
        "http_code": status,
        "response_code": status,
        "url_effective": url,
        "time_total": f"{answer.seconds if answer else 0:.6f}",
        "size_download": str(len(answer.body) if answer else 0),
        "num_redirects": str(answer.redirects if answer else 0),
        "content_type": answer.headers.get("content-type", "") if answer else "",
        "remote_ip": answer.peer[0] if answer else "",
        "remote_port": str(answer.peer[1]) if answer else "",
    }
    text = form.replace("\\n", "\n").replace("\\t", "\t").replace("\\r", "\r")
    for name, value in values.items():
        text = text.replace(f"%{{{name}}}", value)
    sys.stdout.write(text)
    sys.stdout.flush()


def _to_stderr(text: str) -> None:
    sys.stderr.write(text + "\n")


if __name__ == "__main__":
    sys.exit(main())
