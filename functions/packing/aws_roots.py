"""Writes the certificates of AWS's own authorities, out of botocore's bundle, into a file.

    python3.13 aws_roots.py <package>/botocore/cacert.pem <package>/aws-roots.pem

Amazon Trust Services asks those who keep a trust store of their own to have all five of its roots
(https://www.amazontrust.com/repository/): without one of them there is no file.
"""

import re
import ssl
import sys
from pathlib import Path
from typing import Any

OWNERS = {"Amazon", "Starfield Technologies, Inc."}
REQUIRED = {
    *(f"Amazon Root CA {number}" for number in range(1, 5)),
    "Starfield Services Root Certificate Authority - G2",
}


def main() -> None:
    """Write the file that the second argument names; exit with the names of missing roots."""
    bundle, target = map(Path, sys.argv[1:])
    certificates = re.findall(
        r"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----\n",
        bundle.read_text("utf-8"),
        re.DOTALL,
    )
    roots = {pem: subject for pem in certificates if (subject := _subject(pem))["O"] in OWNERS}
    if missing := REQUIRED - {subject["CN"] for subject in roots.values()}:
        sys.exit(f"{bundle} has no {', no '.join(sorted(missing))}: botocore's bundle has changed")
    target.write_text("".join(roots), "utf-8")


def _subject(pem: str) -> dict[str, str]:
    """Return the organization (O) and the common name (CN) of a certificate, or empty texts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cadata=pem)
    certificate: Any = context.get_ca_certs()[0]  # nested tuples, as ssl.getpeercert() documents
    names = dict(pair for part in certificate["subject"] for pair in part)
    return {"O": names.get("organizationName", ""), "CN": names.get("commonName", "")}


if __name__ == "__main__":
    main()
