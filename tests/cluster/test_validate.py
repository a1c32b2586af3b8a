"""The files of cluster/ are what their consumers accept, and every mistake in them is found."""

import shutil

import pytest
from click.testing import CliRunner

from cluster import validate
from cluster.checks_commands import check_own
from cluster.validate import CHECKS, FOLDER, findings

for module in ("jsonschema", "kubernetes_validate", "aiohttp"):
    pytest.importorskip(module, reason="a checker of cluster files is not installed")
if shutil.which("hadolint") is None:
    pytest.skip("hadolint is not installed", allow_module_level=True)

TOKEN_MODE = "RAY_AUTH_MODE=token"  # noqa: S105 - no secret
RAYUP = ("ray-up/aws.yaml", "ray-up/gcp.yaml", "ray-up/onprem.yaml")
CLOUDS = RAYUP[:2]
KUBERAY = ("kuberay/raycluster.yaml", "kuberay/rayjob.yaml")
JOBS = ("jobs/train.yaml", "jobs/tune.yaml")

SPOT_TOLERATION = "tolerations:\n            - key: machines\n"

MUTATIONS = [
    # ray up
    *((name, "cluster_name:", "cluster_nam:") for name in RAYUP),
    *((name, "provider:", "providers:") for name in RAYUP),
    *((name, "upscaling_speed: ", "upscaling_speed: fast #") for name in RAYUP),
    *((name, "idle_timeout_minutes: 5", "idle_timeout_minutes: five") for name in RAYUP),
    *((name, "max_workers: ", "max_workers: many #") for name in RAYUP),
    *((name, "ssh_user:", "ssh_usr:") for name in RAYUP),
    *((name, TOKEN_MODE, "RAY_AUTH_MODE=disabled") for name in RAYUP),
    *((name, " RAY_AUTH_TOKEN_PATH=/home/ray/.ray/auth_token", "") for name in RAYUP),
    *((name, "/home/ray/.ray/auth_token:", "/home/ray/auth_token:") for name in RAYUP),
    *((name, "dashboard-host=127.0.0.1", "dashboard-host=0.0.0.0") for name in RAYUP),
    *((name, "--dashboard-port=", "--dashboard-prt=") for name in RAYUP),
    *((name, "--port=6379", "--port=gcs") for name in RAYUP),
    *((name, " --autoscaling-config=~/ray_bootstrap_config.yaml", "") for name in RAYUP),
    *((name, "ray start --address", "ray strat --address") for name in RAYUP),
    *((name, "rllib-agentmixer:0.1.0", "rllib-agentmixer:latest") for name in CLOUDS),
    *((name, "rllib-agentmixer:0.1.0", "rllib-agentmixer") for name in CLOUDS),
    *((name, "resources: {CPU: 0, head: 1}", "resources: {CPU: 8, head: 1}") for name in CLOUDS),
    *((name, "head_node_type: head", "head_node_type: rollouts") for name in CLOUDS),
    *((name, "min_workers: 0", "min_workers: 2") for name in CLOUDS),
    ("ray-up/aws.yaml", "InstanceType: m7i", "InstanceTyp: m7i"),
    (
        "ray-up/aws.yaml",
        "m7i.2xlarge",
        "m7i.2xlarge\n      InstanceMarketOptions: {MarketType: spot}",
    ),
    ("ray-up/aws.yaml", "MarketType: spot", "MarketType: on-demand"),
    ("ray-up/aws.yaml", "  region:", "  regoin:"),
    ("ray-up/gcp.yaml", "machineType: n2-standard-8", "machinType: n2-standard-8"),
    ("ray-up/gcp.yaml", "preemptible: true", "preemptible: false"),
    ("ray-up/gcp.yaml", "project_id:", "project:"),
    ("ray-up/onprem.yaml", "--num-cpus=0", "--num-cpus=8"),
    ("ray-up/onprem.yaml", "worker_ips:", "workers:"),
    ("ray-up/onprem.yaml", "--metrics-export-port=", "--metric-export-port="),
    # KubeRay
    *((name, "ray.io/v1", "ray.io/v1alpha1") for name in KUBERAY),
    *((name, "ray.io/v1", "ray.io/v2") for name in KUBERAY),
    *((name, "kind: Ray", "kind: Rya") for name in KUBERAY),
    *((name, "headGroupSpec:", "headGroupSpecs:") for name in KUBERAY),
    *((name, "minReplicas: 0", 'minReplicas: "0"') for name in KUBERAY),
    *((name, "minReplicas: 0", "minReplica: 0") for name in KUBERAY),
    *((name, 'num-cpus: "0"', "num-cpus: 0") for name in KUBERAY),
    *((name, 'num-cpus: "0"', 'num-cpus: "4"') for name in KUBERAY),
    *((name, 'num-cpus: "0"', 'num-cpu: "0"') for name in KUBERAY),
    *(
        (name, 'num-cpus: "0"', 'num-cpus: "0"\n{indent}dashboard-host: 0.0.0.0')
        for name in KUBERAY
    ),
    *((name, "mode: token", "mode: disabled") for name in KUBERAY),
    *(
        (name, "secretName: rllib-agentmixer-token", "enableK8sTokenAuth: false")
        for name in KUBERAY
    ),
    *((name, "version: v2", "version: v3") for name in KUBERAY),
    *((name, "version: v2", "version: v1") for name in KUBERAY),
    *((name, "serviceType: ClusterIP", "serviceType: LoadBalancer") for name in KUBERAY),
    *((name, "runAsNonRoot: true", "runAsNonRoot: false") for name in KUBERAY),
    *((name, "allowPrivilegeEscalation: false", "privileged: true") for name in KUBERAY),
    *((name, "rllib-agentmixer:0.1.0", "rllib-agentmixer:latest") for name in KUBERAY),
    *((name, 'rayVersion: "2.60.0"', 'rayVersion: "2.9.0"') for name in KUBERAY),
    *((name, "machines: on-demand", "machines: spot") for name in KUBERAY),
    *((name, "machines: gpu", "machines: spot") for name in KUBERAY),
    *((name, "mountPath: /runs", "mountPath: /data") for name in KUBERAY),
    *((name, "memory: 8Gi", "memory: [8]") for name in KUBERAY),
    *((name, "containers:", "container:") for name in KUBERAY),
    ("kuberay/rayjob.yaml", "--algo agentmixer", "--algorithm agentmixer"),
    ("kuberay/rayjob.yaml", "--workers 16", "--workers many"),
    ("kuberay/rayjob.yaml", "train predator_prey", "trian predator_prey"),
    ("kuberay/rayjob.yaml", "train predator_prey", "train predator_pray"),
    ("kuberay/rayjob.yaml", "env.penalty", "env.penality"),
    ("kuberay/rayjob.yaml", "advantage_scale=hysteretic", "advantage_scale=hysterical"),
    ("kuberay/rayjob.yaml", " --resume-if-possible", " --resume"),
    ("kuberay/rayjob.yaml", "--out /runs", "--out /tmp"),
    ("kuberay/rayjob.yaml", "backoffLimit: 3", "backoffLimit: 0"),
    ("kuberay/rayjob.yaml", "activeDeadlineSeconds", "activeDeadline"),
    ("kuberay/rayjob.yaml", "jobStatus: FAILED", "jobStatus: BROKEN"),
    ("kuberay/rayjob.yaml", "policy: DeleteCluster", "policy: DeleteNone"),
    (
        "kuberay/rayjob.yaml",
        "  backoffLimit: 3",
        "  backoffLimit: 3\n  shutdownAfterJobFinishes: true",
    ),
    (
        "kuberay/rayjob.yaml",
        "jobStatus: FAILED",
        "jobStatus: FAILED\n          jobDeploymentStatus: Failed",
    ),
    ("kuberay/rayjob.yaml", "'{\"learner\": 1}'", "'{\"driver\": 1}'"),
    ("kuberay/rayjob.yaml", "entrypointNumCpus: 4", "entrypointNumCpus: 1"),
    ("kuberay/rayjob.yaml", 'WAIT_TIME_S: "120"', "WAIT_TIME_S: 120"),
    ("kuberay/rayjob.yaml", 'WAIT_TIME_S: "120"', 'WAIT_TIME_S: "3"'),
    ("kuberay/rayjob.yaml", "idleTimeoutSeconds: 120", "idleTimeoutSeconds: 60"),
    ("kuberay/storage.yaml", "ReadWriteMany", "ReadWriteOnce"),
    ("kuberay/storage.yaml", "storage: 100Gi", "storag: {}"),
    ("kuberay/storage.yaml", "storageClassName", "storageClass"),
    ("kuberay/storage.yaml", "apiVersion: v1", "apiVersion: v2"),
    ("kuberay/storage.yaml", "PersistentVolumeClaim", "PersistentVolumeClam"),
    ("kuberay/networkpolicy.yaml", "networking.k8s.io/v1", "networking.k8s.io/v1beta1"),
    (
        "kuberay/networkpolicy.yaml",
        "podSelector:\n    matchLabels:\n      ray.io/is",
        "podSelector: {} #",
    ),
    ("kuberay/networkpolicy.yaml", "policyTypes: [Ingress]", "policyTypes: [Egress]"),
    ("kuberay/networkpolicy.yaml", "port: 8265", "prt: 8265"),
    ("kuberay/networkpolicy.yaml", "    - from:\n        - podS", "    - to:\n        - podS"),
    ("kuberay/operator-values.yaml", "featureGates:", "featureGate:"),
    ("kuberay/operator-values.yaml", "enabled: true", "enabled: false"),
    ("kuberay/operator-values.yaml", "watchNamespace: [training]", "watchNamespace: training"),
    # Container
    ("Containerfile", "2.60.0-py311-cpu", "latest"),
    ("Containerfile", "2.60.0-py311-cpu", "2.9.0-py311-cpu"),
    ("Containerfile", "USER 1000\n", ""),
    ("Containerfile", "USER 1000", "USER root"),
    ("Containerfile", '-c constraints.txt \\\n        "$(echo', '\\\n        "$(echo'),
    ("Containerfile", "COPY constraints.txt", "COPPY constraints.txt"),
    ("Containerfile", "WORKDIR /home/ray\n", "WORKDIR home/ray\n"),
    # Jobs
    *((name, "entrypoint:", "entry_point:") for name in JOBS),
    *((name, "entrypoint_resources", "entrypoint_resource") for name in JOBS),
    *((name, "head: 0.01", 'head: "0.01"') for name in JOBS),
    *((name, "entrypoint_num_cpus: 0", "entrypoint_num_cpus: 1") for name in JOBS),
    *((name, "predator_prey --algo", "predator_prey --algos") for name in JOBS),
    *((name, " --resume-if-possible", "") for name in JOBS),
    ("jobs/tune.yaml", "--scheduler asha", "--scheduler asher"),
    ("jobs/tune.yaml", "--search random", "--search grid"),
    ("jobs/tune.yaml", "lr=loguniform", "learning_rate=loguniform"),
    ("jobs/tune.yaml", "(1e-4,1e-2)", "(1e-2,1e-4)"),
    ("jobs/train.yaml", "--steps 1000000", "--steps 1e6"),
    ("jobs/tune.yaml", "--samples 32", "--samples few"),
    ("jobs/runtime_env.yaml", "working_dir:", "workdir:"),
    ("jobs/runtime_env.yaml", '"900"', "900"),
    ("jobs/runtime_env.yaml", 'STOP_WAIT_TIME_S: "120"', 'STOP_WAIT_S: "120"'),
    # Slurm
    ("slurm/train.sbatch", "#SBATCH --nodes", "#SBATCH --node"),
    ("slurm/train.sbatch", "cpus=$((SLURM_CPUS_PER_TASK - 1))", "cpus=$((SLURM_CPUS_PER_TASK - 1)"),
    ("slurm/train.sbatch", "umask 077\n", ""),
    ("slurm/train.sbatch", "export RAY_AUTH_MODE=token\n", ""),
    ("slurm/train.sbatch", "--min-nodes", "--min-node"),
    ("slurm/train.sbatch", "--num-cpus=", "--num-cpu="),
    ("slurm/train.sbatch", "--include-dashboard=false -- ", "--include-dashboard=false "),
    ("slurm/train.sbatch", "--minutes 220", "--minute 220"),
    ("slurm/train.sbatch", " --resume-if-possible", ""),
    # systemd
    ("systemd/ray-worker.service", "Environment=RAY_AUTH_MODE=token\n", ""),
    ("systemd/ray-worker.service", "Restart=always", "Restart=no"),
    ("systemd/ray-worker.service", "Restart=always", "Restart=forever"),
    ("systemd/ray-worker.service", "User=ray\n", ""),
    ("systemd/ray-worker.service", " --block", ""),
    ("systemd/ray-worker.service", "--object-manager-port", "--object-store-port"),
    ("systemd/ray-worker.service", "[Service]", "[Servce]"),
    # The page
    ("README.md", "--resume-if-possible\nray job list", "--resume-if-posible\nray job list"),
    ("README.md", "ray job submit --runtime-env", "ray job submit --runtimeenv"),
    ("README.md", "python cluster/local.py status", "python cluster/local.py stats"),
    ("README.md", "tune.yaml --no-wait", "tune.yaml --nowait"),
    ("README.md", "--head --port=6379", "--head --gcs-port=6379"),
    ("README.md", "--dashboard-host=127.0.0.1\nsudo", "--dashboard-host=0.0.0.0\nsudo"),
]


@pytest.mark.parametrize("name", CHECKS)
def test_a_file_is_accepted_by_its_consumers(name):
    assert findings(name) == []


@pytest.mark.parametrize(("name", "old", "new"), MUTATIONS)
def test_a_mistake_is_found(name, old, new):
    text = (FOLDER / name).read_text()
    assert old in text
    before = text[: text.index(old)].rpartition("\n")[2]
    assert findings(name, text.replace(old, new.replace("{indent}", before))) != []


@pytest.mark.parametrize("name", KUBERAY)
@pytest.mark.parametrize("group", ["learner", "gpu-learner"])
def test_a_learner_that_tolerates_spot_machines_is_found(name, group):
    text = (FOLDER / name).read_text()
    start = text.index(f"groupName: {group}")
    place = text.index("volumes:", start)
    indent = text[:place].rpartition("\n")[2]
    toleration = (
        f"tolerations:\n{indent}  - {{key: machines, operator: Equal, value: spot}}\n{indent}"
    )
    if group == "gpu-learner":
        place = text.index("- key: nvidia", start)
        toleration = "- {key: machines, operator: Equal, value: spot}\n" + indent + "  "
    mutant = text[:place] + toleration + text[place:]
    assert any(f"{group}: on spot machines" in found for found in findings(name, mutant))


def test_no_file_of_the_folder_is_left_unchecked(tmp_path, monkeypatch):
    assert validate.unknown_files() == []
    (tmp_path / "kuberay").mkdir()
    (tmp_path / "kuberay" / "more.yaml").touch()
    monkeypatch.setattr(validate, "FOLDER", tmp_path)
    assert validate.unknown_files() == ["kuberay/more.yaml"]


def test_the_program_lists_findings_and_fails(monkeypatch):
    runner = CliRunner()
    done = runner.invoke(validate.main, ["kuberay/storage.yaml"])
    assert (done.exit_code, done.output) == (0, "1 files, no findings\n")
    monkeypatch.setitem(validate.CHECKS, "kuberay/storage.yaml", lambda text: ["too small"])
    done = runner.invoke(validate.main, ["kuberay/storage.yaml"])
    assert (done.exit_code, done.output) == (1, "kuberay/storage.yaml: too small\n")


def test_another_program_is_no_entrypoint():
    (found,) = check_own(["python", "train.py"])
    assert "not a command of this project" in found
