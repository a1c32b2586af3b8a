"""Make cluster/kuberay/schemas.json from KubeRay's custom resource definitions.

    python tests/cluster/make_schemas.py path/to/kuberay/helm-chart/kuberay-operator/crds

A definition lets unknown fields pass, which the API server then drops without a word. The
schemas refuse them, say nothing about meaning (no descriptions), and hold each repeated part
once, under ``$defs``: 4 MB become 100 kB.
"""

import json
import sys
from collections import Counter
from pathlib import Path

import yaml

TARGET = Path(__file__).parents[2] / "cluster" / "kuberay" / "schemas.json"
SOURCE = "https://github.com/ray-project/kuberay"
VERSION = "v1.7.0"
FILES = {"RayCluster": "rayclusters.yaml", "RayJob": "rayjobs.yaml"}
API_VERSION = "ray.io/v1"
KEPT = ("type", "enum", "required", "minimum", "maximum", "minItems", "maxItems", "pattern")
LEAST_SHARED = 60
"""Characters of JSON from which a repeated part is worth a name."""

METADATA = {
    "type": "object",
    "properties": {
        **{name: {"type": "string"} for name in ("name", "generateName", "namespace")},
        **{
            name: {"type": "object", "additionalProperties": {"type": "string"}}
            for name in ("labels", "annotations")
        },
    },
    "additionalProperties": False,
}


def strict(schema):
    """A JSON schema that refuses what an OpenAPI one lets pass."""
    if schema.get("x-kubernetes-int-or-string"):
        return {"type": ["integer", "string"]}
    result = {name: schema[name] for name in KEPT if name in schema}
    if "properties" in schema:
        result["properties"] = {name: strict(s) for name, s in schema["properties"].items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            result["additionalProperties"] = False
    if isinstance(schema.get("additionalProperties"), dict):
        result["additionalProperties"] = strict(schema["additionalProperties"])
    if "items" in schema:
        result["items"] = strict(schema["items"])
    return result


def top_schema(kind, definition):
    """The strict schema of a kind, with its name and version fixed."""
    (version,) = (v for v in definition["spec"]["versions"] if v["name"] == "v1")
    schema = strict(version["schema"]["openAPIV3Schema"])
    schema["properties"] |= {
        "apiVersion": {"const": API_VERSION},
        "kind": {"const": kind},
        "metadata": METADATA,
    }
    schema["required"] = ["apiVersion", "kind", "metadata", "spec"]
    del schema["properties"]["status"]
    return schema


def canonical(node):
    return json.dumps(node, sort_keys=True, separators=(",", ":"))


def is_schema(node):
    """Whether a dictionary is a schema by itself, and not a table of properties."""
    return isinstance(node.get("type"), (str, list))


def count_parts(node, counts):
    if isinstance(node, dict):
        if is_schema(node):
            counts[canonical(node)] += 1
        for child in node.values():
            count_parts(child, counts)


def share(node, counts, names, definitions):
    """The same schema with repeated parts replaced by references."""
    if not isinstance(node, dict):
        return node
    key = canonical(node)
    is_shared = is_schema(node) and counts[key] > 1 and len(key) >= LEAST_SHARED
    if is_shared and key in names:
        return {"$ref": f"#/$defs/{names[key]}"}
    content = {name: share(child, counts, names, definitions) for name, child in node.items()}
    if not is_shared:
        return content
    names[key] = f"p{len(names)}"
    definitions[names[key]] = content
    return {"$ref": f"#/$defs/{names[key]}"}


def main(folder):
    schemas = {
        kind: top_schema(kind, yaml.safe_load((folder / name).read_text()))
        for kind, name in FILES.items()
    }
    counts, definitions = Counter(), {}
    count_parts(schemas, counts)
    shared = share(schemas, counts, {}, definitions)
    content = {
        "$comment": f"From the custom resource definitions of KubeRay {VERSION}, {SOURCE}, "
        "Apache License 2.0; made by tests/cluster/make_schemas.py",
        "kinds": shared,
        "$defs": definitions,
    }
    TARGET.write_text(json.dumps(content, separators=(",", ":")) + "\n")
    print(f"{TARGET}: {TARGET.stat().st_size / 1000:.0f} kB, {len(definitions)} shared parts")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
