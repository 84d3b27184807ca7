"""Renders the Helm chart and the kustomizations, and judges what comes of them, without a cluster.

usage: kubernetes.py FOLDER KUBECTL [DOORWARD]

Every manifest must be valid for the Kubernetes versions below, obey the pod security standard "restricted", and every
configuration in a ConfigMap must be good, with the variables of the container that reads it, as far as that can be told
without its secrets (with DOORWARD, the binary). So must the pieces of manifests that the documents show.
"""

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import helm_python as helm
import kubernetes_validate
import yaml

VERSIONS = ["1.30", "1.34", "1.37"]

# Kinds of others, which the schemas do not know.
FOREIGN = {"ServiceMonitor"}

# What each set of values must bring forth.
KINDS = {
    "shared": {"ConfigMap", "Deployment", "NetworkPolicy", "PodDisruptionBudget", "Service", "ServiceAccount",
               "ServiceMonitor"},
    "sidecar": {"ConfigMap", "Deployment", "ServiceAccount"},
    "sidecar-claim": {"ConfigMap", "Deployment", "ServiceAccount"},
}

# Values that the schema must refuse.
REFUSED = [
    {"config": "x", "mode": "daemonset"},
    {"config": ""},
    {"config": "x", "mode": "sidecar"},
    {"config": "x", "replica": 2},
    {"config": "x", "shutdownDelay": "5"},
    {"config": "x", "ports": {"clients": 0, "health": 8082}},
]

# A value of a variable that only the cluster knows.
OF_CLUSTER = "known to the cluster alone"

faults = []


def fault(where, what):
    faults.append(f"{where}: {what}")


def judge(where, manifests, doorward):
    for manifest in manifests:
        kind = manifest.get("kind")
        at = f"{where}: {kind}/{manifest['metadata']['name']}"
        if kind not in FOREIGN:
            for version in VERSIONS:
                try:
                    kubernetes_validate.validate(manifest, version, strict=True)
                except kubernetes_validate.ValidationError as error:
                    fault(at, f"{version}: {error.message} at {'/'.join(map(str, error.path))}")
        if kind == "Deployment":
            restricted(at, manifest["spec"]["template"]["spec"])
            selected(at, manifest)
        if kind == "ConfigMap" and "doorward.toml" in manifest.get("data", {}) and doorward:
            environment = variables(manifests, manifest["metadata"]["name"])
            if environment is None:
                fault(at, "no container reads it")
            else:
                configured(at, manifest["data"]["doorward.toml"], environment, doorward)


def variables(manifests, config_map):
    """The variables of the container of ours that reads a ConfigMap."""
    for deployment in (one for one in manifests if one.get("kind") == "Deployment"):
        pod = deployment["spec"]["template"]["spec"]
        volumes = {one["name"] for one in pod["volumes"] if one.get("configMap", {}).get("name") == config_map}
        for container in pod.get("initContainers", []) + pod["containers"]:
            mounts = {one["name"] for one in container.get("volumeMounts", [])}
            if container["name"] == "doorward" and volumes & mounts:
                return {one["name"]: one.get("value", OF_CLUSTER) for one in container.get("env", [])}
    return None


def restricted(at, pod):
    """Doorward's container obeys https://kubernetes.io/docs/concepts/security/pod-security-standards/ ("restricted")."""
    ours = [c for c in pod.get("initContainers", []) + pod["containers"] if c["name"] == "doorward"]
    if len(ours) != 1:
        return fault(at, f"{len(ours)} containers are called doorward")
    container, context = ours[0], ours[0]["securityContext"]
    wanted = {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "runAsNonRoot": True,
        "runAsUser": 65532,
        "capabilities": {"drop": ["ALL"]},
        "seccompProfile": {"type": "RuntimeDefault"},
    }
    for key, value in wanted.items():
        if context.get(key) != value:
            fault(at, f"securityContext.{key} is {context.get(key)!r}")
    mounts = {mount["name"] for mount in container["volumeMounts"]}
    volumes = {volume["name"] for volume in pod["volumes"]}
    if mounts - volumes:
        fault(at, f"no volumes for {mounts - volumes}")
    ports = {port["name"] for port in container["ports"]}
    for probe in ["startupProbe", "livenessProbe", "readinessProbe"]:
        if probe in container and container[probe]["httpGet"]["port"] not in ports:
            fault(at, f"{probe} asks a port that is not there")
    if pod.get("enableServiceLinks", True) and "initContainers" not in pod:
        fault(at, "enableServiceLinks is not off")


def selected(at, deployment):
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    for key, value in deployment["spec"]["selector"]["matchLabels"].items():
        if labels.get(key) != value:
            fault(at, f"its selector does not select {key}={value}")


def configured(at, text, environment, doorward):
    """The configuration has no faults but that the files of secrets and certificates are not here."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "doorward.toml"
        path.write_text(text)
        command = [doorward, "check", "--json", "-c", str(path)]
        told = subprocess.run(command, env=environment, capture_output=True, text=True)
        outcome = json.loads(told.stdout)
    for one in outcome["faults"]:
        if "/etc/doorward/" not in one["message"]:
            where = f"doorward.toml:{one['line']}" if one["line"] else one["file"]
            fault(at, f"{where}: {one['message']}")
    if not outcome["ok"] and not outcome["faults"]:
        fault(at, f"the configuration is not good: {outcome}")


def chart(folder, doorward):
    path = folder / "helm" / "doorward"
    with helm.Chart.load(str(path)) as loaded:
        for values in REFUSED:
            try:
                loaded.validate_schema(values)
                fault("values.schema.json", f"{values} is taken")
            except helm.HelmError:
                pass
        seen = set()
        for file in sorted((path / "ci").glob("*.yaml")):
            name, values = file.stem, yaml.safe_load(file.read_text())
            seen.add(name)
            loaded.validate_schema(values)
            rendered = loaded.render(values, name="release", namespace="default")
            manifests = []
            for template, text in sorted(rendered.items()):
                if not template.endswith("NOTES.txt"):
                    manifests += [one for one in yaml.safe_load_all(text) if one]
            kinds = {manifest["kind"] for manifest in manifests}
            if kinds != KINDS[name]:
                fault(f"helm {name}", f"it has {sorted(kinds)}, and should have {sorted(KINDS[name])}")
            judge(f"helm {name}", manifests, doorward)
        if seen != set(KINDS):
            fault("helm", f"values are there for {sorted(seen)}, and should be for {sorted(KINDS)}")
    return len(KINDS)


def kustomizations(folder, kubectl, doorward):
    count = 0
    for name in ["shared", "example"]:
        count += 1
        command = [kubectl, "kustomize", str(folder / "kustomize" / name)]
        rendered = subprocess.run(command, capture_output=True, text=True)
        if rendered.returncode != 0:
            fault(f"kustomize {name}", rendered.stderr.strip())
            continue
        judge(f"kustomize {name}", [one for one in yaml.safe_load_all(rendered.stdout) if one], doorward)
    return count


def versions(folder):
    """The chart and the manifests are of the version that Cargo.toml has."""
    cargo = (folder.parent / "Cargo.toml").read_text()
    version = next(line.split('"')[1] for line in cargo.splitlines() if line.startswith("version = "))
    described = yaml.safe_load((folder / "helm/doorward/Chart.yaml").read_text())
    if described["appVersion"] != version:
        fault("Chart.yaml", f"appVersion is {described['appVersion']}, and Cargo.toml has {version}")
    for file in sorted((folder / "kustomize").glob("*/*.yaml")):
        for line in file.read_text().splitlines():
            if "image: doorward:" in line and not line.strip().endswith(f":{version}"):
                fault(str(file), f"{line.strip()}, and Cargo.toml has {version}")


def documents(folder):
    """What stands in the documents between "```yaml" and "```": volumes of a pod, or steps of a job that a shell runs."""
    count = 0
    for document in sorted((folder.parent / "docs").glob("*.md")):
        for block in document.read_text().split("```yaml\n")[1:]:
            count += 1
            at, shown = f"docs/{document.name}: block {count}", yaml.safe_load(block.split("```")[0])
            if isinstance(shown, dict) and set(shown) == {"volumes"}:
                pod = {"containers": [{"name": "any", "image": "any"}], **shown}
                manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "any"}, "spec": pod}
                for version in VERSIONS:
                    try:
                        kubernetes_validate.validate(manifest, version, strict=True)
                    except kubernetes_validate.ValidationError as error:
                        fault(at, f"{version}: {error.message}")
            elif isinstance(shown, list) and all("run" in step for step in shown):
                for step in shown:
                    told = subprocess.run(["bash", "-n", "-c", step["run"]], capture_output=True, text=True)
                    if told.returncode != 0:
                        fault(at, told.stderr.strip())
            else:
                fault(at, "nobody knows what this is")
    return count


def main():
    folder, kubectl = Path(sys.argv[1]).resolve(), sys.argv[2]
    doorward = sys.argv[3] if len(sys.argv) > 3 else None
    versions(folder)
    count = chart(folder, doorward) + kustomizations(folder, kubectl, doorward) + documents(folder)
    for one in faults:
        print(one, file=sys.stderr)
    with_configuration = "" if doorward else " (without their configurations: no binary was named)"
    print(f"{count} renderings and examples judged{with_configuration}: {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
