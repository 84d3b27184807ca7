"""Writes the bill of materials of a release: what is linked into the binary, as CycloneDX 1.6 JSON.

usage: sbom.py [--no-default-features] [--target TRIPLE] > doorward.cdx.json

Made of `cargo metadata` and Cargo.lock: every crate that the binary or a build script of it needs, with its licence, its
digest and what it needs in turn. What only tests need is left out.
"""

import argparse
import json
import re
import subprocess
import sys
import uuid
from datetime import datetime, timezone
from os import environ
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# RFC 9562 names of what is described: the same input gives the same document.
NAMESPACE = uuid.UUID("6c2bd2c6-0f0e-5d0b-9d4e-5f6c1f7f0d11")


def metadata(arguments):
    command = ["cargo", "metadata", "--format-version", "1", "--locked", "--filter-platform", arguments.target]
    if arguments.no_default_features:
        command.append("--no-default-features")
    return json.loads(subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE).stdout)


def digests():
    """The SHA-256 of each crate, by name and version."""
    found, name, version = {}, None, None
    for line in (ROOT / "Cargo.lock").read_text().splitlines():
        if match := re.fullmatch(r'(name|version|checksum) = "(.*)"', line):
            key, value = match.groups()
            if key == "name":
                name = value
            elif key == "version":
                version = value
            else:
                found[name, version] = value
    return found


def needed(resolve):
    """What each package needs at run time or to be built, from the binary down."""
    nodes = {node["id"]: node for node in resolve["nodes"]}
    graph, waiting = {}, [resolve["root"]]
    while waiting:
        package = waiting.pop()
        if package in graph:
            continue
        kinds = [(dep["pkg"], {kind["kind"] for kind in dep["dep_kinds"]}) for dep in nodes[package]["deps"]]
        graph[package] = sorted(pkg for pkg, kind in kinds if kind - {"dev"})
        waiting += graph[package]
    return graph


def purl(package):
    return f"pkg:cargo/{package['name']}@{package['version']}"


def component(package, digest, kind):
    described = {
        "type": kind,
        "bom-ref": purl(package),
        "name": package["name"],
        "version": package["version"],
        "purl": purl(package),
        "scope": "required",
    }
    if package.get("description"):
        described["description"] = " ".join(package["description"].split())
    if package.get("license"):
        # Cargo once took `/` for `OR`.
        described["licenses"] = [{"expression": package["license"].replace("/", " OR ")}]
    if digest:
        described["hashes"] = [{"alg": "SHA-256", "content": digest}]
    if package.get("repository"):
        described["externalReferences"] = [{"type": "vcs", "url": package["repository"]}]
    return described


def document(arguments):
    told = metadata(arguments)
    packages = {package["id"]: package for package in told["packages"]}
    graph, known = needed(told["resolve"]), digests()
    root = packages[told["resolve"]["root"]]
    digest = lambda package: known.get((package["name"], package["version"]))
    crates = [packages[one] for one in graph if one != root["id"]]
    crates.sort(key=lambda package: (package["name"], package["version"]))
    edges = [
        {"ref": purl(packages[one]), "dependsOn": sorted(purl(packages[dep]) for dep in deps)}
        for one, deps in graph.items()
    ]
    # By https://reproducible-builds.org/specs/source-date-epoch/ a release can be made again, byte by byte.
    epoch = environ.get("SOURCE_DATE_EPOCH")
    made = datetime.fromtimestamp(int(epoch), timezone.utc) if epoch else datetime.now(timezone.utc)
    features = "without default features" if arguments.no_default_features else "with default features"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(NAMESPACE, json.dumps(sorted(map(purl, crates))))}",
        "version": 1,
        "metadata": {
            "timestamp": made.strftime("%Y-%m-%dT%H:%M:%SZ"),
            "component": component(root, None, "application"),
            "properties": [
                {"name": "doorward:target", "value": arguments.target},
                {"name": "doorward:features", "value": features},
            ],
        },
        "components": [component(package, digest(package), "library") for package in crates],
        "dependencies": sorted(edges, key=lambda edge: edge["ref"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--no-default-features", action="store_true")
    parser.add_argument("--target", default="x86_64-unknown-linux-gnu")
    json.dump(document(parser.parse_args()), sys.stdout, indent=1)
    print()


if __name__ == "__main__":
    main()
