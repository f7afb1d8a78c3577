"""A job as condor_submit describes it: from commands, or from an expression and what it asks for, to the job ad.

Which clauses are added to Requirements, in which order, and when one is left out, was measured with condor_submit
-dry-run of 23.9.6 (tests/pool/test_submit_oracle.py); 25.12 and later waive the clause on the disk for new startds.
"""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, NamedTuple

import classad2

from sim.classads.expression import Expression
from sim.errors import ExpressionError, InputError

SYSTEMS = frozenset({"opsys", "opsysandver", "opsyslongname", "opsysshortname", "opsysname", "opsyslegacy"})
_SIZE = re.compile(r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*(?:([KMGT])B?)?", re.IGNORECASE)
_POWER = {"K": 0, "M": 1, "G": 2, "T": 3}
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_LIMIT = re.compile(r"[A-Za-z_][\w.@-]*(?::[0-9.]+)?")
GPUS = "GPUs"  # stands for the clause on GPUs, whose text hangs on RequireGPUs

DEVICE_COMMANDS = frozenset(
    {
        "require_gpus",
        "gpus_minimum_capability",
        "gpus_maximum_capability",
        "gpus_minimum_memory",
        "gpus_minimum_runtime",
    }
)

# command → attribute, of those whose value goes into the ad as it is written
_EXPRESSIONS = {
    "periodic_hold": "PeriodicHold",
    "periodic_release": "PeriodicRelease",
    "periodic_remove": "PeriodicRemove",
    "on_exit_hold": "OnExitHold",
    "on_exit_remove": "OnExitRemove",
    "job_lease_duration": "JobLeaseDuration",
    "want_graceful_removal": "WantGracefulRemoval",
    "allowed_execute_duration": "AllowedExecuteDuration",
    "allowed_job_duration": "AllowedJobDuration",
    "keep_claim_idle": "KeepClaimIdle",
    "job_max_vacate_time": "JobMaxVacateTime",
    "max_job_retirement_time": "MaxJobRetirementTime",
    "leave_in_queue": "LeaveJobInQueue",
    "next_job_start_delay": "NextJobStartDelay",
}
_STRINGS = {
    "batch_name": "JobBatchName",
    "description": "JobDescription",
    "container_target_dir": "ContainerTargetDir",
    "notify_user": "NotifyUser",
    "job_ad_information_attrs": "JobAdInformationAttrs",
    "output_destination": "OutputDestination",
    "transfer_output_remaps": "TransferOutputRemaps",
}
_FOLLOWED = frozenset(
    [
        "universe",
        "executable",
        "arguments",
        "initialdir",
        "input",
        "output",
        "error",
        "log",
        "stream_input",
        "stream_output",
        "stream_error",
        "transfer_executable",
        "should_transfer_files",
        "when_to_transfer_output",
        "transfer_input_files",
        "transfer_output_files",
        "transfer_checkpoint_files",
        "checkpoint_exit_code",
        "requirements",
        "rank",
        "priority",
        "request_cpus",
        "request_memory",
        "request_disk",
        "request_gpus",
        "require_gpus",
        "gpus_minimum_capability",
        "gpus_maximum_capability",
        "gpus_minimum_memory",
        "gpus_minimum_runtime",
        "container_image",
        "docker_image",
        "transfer_container",
        "accounting_group",
        "accounting_group_user",
        "nice_user",
        "concurrency_limits",
        "concurrency_limits_expr",
        "max_retries",
        "retry_until",
        "success_exit_code",
        "notification",
        "hold",
    ]
)
_SYNONYMS = {
    "prio": "priority", "preferences": "rank", "arguments2": "arguments", "args": "arguments", "cmd": "executable",
    "requestcpus": "request_cpus", "requestmemory": "request_memory", "requestdisk": "request_disk",
    "requestgpus": "request_gpus", "requiregpus": "require_gpus", "jobbatchname": "batch_name",
    "initial_dir": "initialdir", "gpusmincapability": "gpus_minimum_capability",
    "gpusminmemory": "gpus_minimum_memory", "gpusmaxcapability": "gpus_maximum_capability",
    "gpusminruntime": "gpus_minimum_runtime", "job_batch_name": "batch_name", "output_file": "output",
    "userlog": "log", "concurrencylimits": "concurrency_limits", "nice": "nice_user",
}  # fmt: skip
_WITHOUT_EFFECT = frozenset(
    [
        "environment",
        "env",
        "environment2",
        "getenv",
        "allow_environment_override",
        "email_attributes",
        "log_xml",
        "dagman_log",
        "want_name_tag",
        "copy_to_spool",
        "run_as_owner",
        "load_profile",
        "use_x509userproxy",
        "x509userproxy",
        "use_oauth_services",
        "use_scitokens",
        "scitokens_file",
        "encrypt_input_files",
        "encrypt_output_files",
        "dont_encrypt_input_files",
        "dont_encrypt_output_files",
        "encrypt_execute_directory",
        "preserve_relative_paths",
        "transfer_plugins",
        "max_transfer_input_mb",
        "max_transfer_output_mb",
        "coresize",
        "buffer_size",
        "buffer_block_size",
        "append_files",
        "max_materialize",
        "max_idle",
        "materialize_max_idle",
        "remote_initialdir",
        "remove_kill_sig",
        "kill_sig",
        "hold_kill_sig",
        "kill_sig_timeout",
        "docker_network_type",
        "docker_pull_policy",
        "docker_override_entrypoint",
        "container_service_names",
        "ulog_execute_attrs",
        "periodic_hold_reason",
        "periodic_hold_subcode",
        "on_exit_hold_reason",
        "on_exit_hold_subcode",
        "periodic_vacate",
        "skip_filechecks",
        "submit_event_notes",
        "submit_event_user_notes",
        "manifest",
        "manifest_dir",
        "cuda_version",
        "checkpoint_destination",
        "retry_request_memory",
        "retry_request_memory_increase",
        "retry_request_memory_max",
        "primary_unix_group",
        "shell",
        "dag_node_name",
        "node",
    ]
)
_NOT_MODELLED = re.compile(
    r"deferral_\w+|cron_\w+|machine_count|node_count|grid_resource|vm_\w+|java_vm_args|jar_files|ec2_\w+|gce_\w+"
    r"|azure_\w+|starter_\w+|stack_size|mount_under_scratch|match_list_length|job_machine_attrs\w*|remote_universe"
)
_MISTYPED = frozenset(
    {"request_gpu", "request_cpu", "request_mem", "request_ram"}
)  # condor_submit passes over them
_UNIVERSES = {"vanilla": 5, "5": 5, "container": 5, "docker": 5}
_NOTIFICATIONS = {"never": 0, "always": 1, "complete": 2, "error": 3}

# what every fresh job's ad says
_FRESH = {
    "MyType": '"Job"', "TargetType": '"Machine"', "JobStatus": "1", "JobUniverse": "5", "JobPrio": "0", "Rank": "0.0",
    "MaxHosts": "1", "MinHosts": "1", "CurrentHosts": "0", "NumCkpts": "0", "NumRestarts": "0", "NumJobStarts": "0",
    "NumJobCompletions": "0", "NumSystemHolds": "0", "ExitStatus": "0", "ExitBySignal": "false",
    "JobNotification": "0", "JobSubmitMethod": "0", "LeaveJobInQueue": "false", "TotalSuspensions": "0",
    "LastSuspensionTime": "0", "CommittedTime": "0", "CommittedSlotTime": "0", "CommittedSuspensionTime": "0",
    "CumulativeSlotTime": "0", "CumulativeSuspensionTime": "0", "CumulativeRemoteSysCpu": "0.0",
    "CumulativeRemoteUserCpu": "0.0", "RemoteSysCpu": "0.0", "RemoteUserCpu": "0.0", "RemoteWallClockTime": "0.0",
    "Environment": '""', "TransferInputSizeMB": "0",
}  # fmt: skip


class Command(NamedTuple):
    """A command of a submit file: its name as written, its value, its line (0: none)."""

    name: str
    text: str
    line: int = 0


@dataclass(frozen=True)
class AccessPoint:
    """What condor_submit knows of the machine it runs on; sizes in KiB, times in seconds."""

    owner: str = "nobody"
    file_system_domain: str = "submit.invalid"
    folder: str = "/"
    lease_s: int = 2400
    executable_kib: int = 1
    arch: str = "X86_64"
    opsys: str = "LINUX"

    def macros(self) -> dict[str, str]:
        """The macros that every submit file may read."""
        return {"arch": self.arch, "opsys": self.opsys, "islinux": "1", "iswindows": "0", "dollar": "$"}


@dataclass(frozen=True)
class JobDescription:
    """A job: its attributes as expressions, the user's own requirements, and the clauses that are added to them.

    attributes : name → expression, all but Requirements
    expression : the user's own part of Requirements, empty if there is none
    line : where the submit file says it, 0 if it is no file's
    standards : the clauses added, each with the attributes whose mention makes it superfluous
    forced : Requirements as a whole, where +Requirements sets it
    """

    attributes: Mapping[str, str]
    expression: str
    line: int = 0
    standards: tuple[tuple[frozenset[str], str], ...] = ()
    forced: str = ""

    @cached_property
    def requirements(self) -> str:
        """The whole of Requirements."""
        if self.forced:
            return self.forced
        user = Expression.parse(self.expression) if self.expression else None
        named = {reference.name.lower() for reference in user.references()} if user else set()
        clauses = [f"({user.text_of(user.root)})"] if user else []
        for names, text in self.standards:
            clause = self._gpu_clause() if text == GPUS else text
            if clause and not names & named:
                clauses.append(clause)
        return " && ".join(clauses) or "true"

    def _gpu_clause(self) -> str:
        if (_number(self.attributes.get("RequestGPUs", "0")) or 1) <= 0 or not self.gpus_asked:
            return ""
        if "RequireGPUs" in self.attributes:
            return "(countMatches(MY.RequireGPUs, TARGET.AvailableGPUs) >= RequestGPUs)"
        return "(TARGET.GPUs >= RequestGPUs)"

    @property
    def gpus_asked(self) -> bool:
        """Whether it asks for GPUs at all."""
        return self.attributes.get("RequestGPUs", "0") not in {"0", "undefined"}

    @property
    def gpus(self) -> int:
        """How many GPUs it asks for; an expression counts as one."""
        value = self.value("RequestGPUs")
        return 0 if not self.gpus_asked else max(0, int(value)) if value is not None else 1

    @property
    def require_gpus(self) -> str:
        """What each of its devices must satisfy, empty if anything will do."""
        return self.attributes.get("RequireGPUs", "") if self.gpus_asked else ""

    def value(self, name: str) -> float | None:
        """An attribute's value in the ad, if it is a number."""
        value = self._evaluated(name)
        plain = isinstance(value, int | float) and not isinstance(value, bool | classad2.Value)
        return float(value) if plain and math.isfinite(value) else None

    def string(self, name: str) -> str:
        """An attribute's value in the ad, if it is a string, else an empty one."""
        value = self._evaluated(name)
        return value if isinstance(value, str) else ""

    def _evaluated(self, name: str) -> Any:
        if name not in self._values:
            try:
                self._values[name] = self._ad.eval(name)
            except (KeyError, RuntimeError):
                self._values[name] = None
        return self._values[name]

    @cached_property
    def _values(self) -> dict[str, Any]:
        return {}

    @property
    def account(self) -> str:
        """Whom the negotiator charges for it, as far as the job says so itself: group.user, or empty."""
        return self.string("AccountingGroup")

    @cached_property
    def _ad(self) -> classad2.ClassAd:
        return classad2.parseOne(self.text)

    @cached_property
    def text(self) -> str:
        """The ad as text."""
        held = {**self.attributes, "Requirements": self.requirements}
        return "[ " + "; ".join(f"{_quoted_name(name)} = {value}" for name, value in held.items()) + " ]"

    def ad(self, proc: int, cluster: int = 1) -> str:
        """The ad of one job of a submission."""
        return f"{self.text[:-2]}; ClusterId = {cluster}; ProcId = {proc} ]"

    def changed(self, expression: str | None = None, **attributes: str | None) -> JobDescription:
        """The same job with another expression or other attributes; None takes one away."""
        held = dict(self.attributes)
        for name, text in attributes.items():
            held.pop(name, None)
            if text is not None:
                held[name] = text
        asks = "RequestGPUs" in held and not any(text == GPUS for _, text in self.standards)
        standards = (
            (*self.standards, (frozenset({"gpus"}), GPUS)) if asks and not self.forced else self.standards
        )
        user = self.expression if expression is None else expression
        return replace(self, attributes=held, expression=user, standards=standards)

    def fixed(self) -> JobDescription:
        """The same job with its requests as numbers, as far as they have values before it has run."""
        told = {
            name: self.value(name) for name in ("RequestCpus", "RequestMemory", "RequestDisk", "RequestGPUs")
        }
        held = {name: f"{value:.15g}" for name, value in told.items() if value is not None}
        return replace(self, attributes={**self.attributes, **held})

    def asked(self) -> tuple[str, ...]:
        """What slots can tell of it: all but its own files and arguments."""
        told = sorted(self.attributes.items())
        return (*(f"{name}={text}" for name, text in told if name not in _OWN), self.requirements)


_OWN = frozenset({"Args", "Arguments", "In", "Out", "Err", "Cmd", "UserLog", "JobBatchName", "TransferOutput",
                  "TransferInput", "JobDescription"})  # fmt: skip


def note_of(key: str, *, guess: bool = True) -> str | None:
    """Why a command (in lower case) is not followed, None if it is; `guess` which one is meant, which takes its time."""
    name = _SYNONYMS.get(key, key)
    if key.startswith("my.") or name in _FOLLOWED or name in _EXPRESSIONS or name in _STRINGS:
        return None
    if re.fullmatch(r"request_\w+", name) and name not in _MISTYPED:
        near = difflib.get_close_matches(name, _FOLLOWED, n=1, cutoff=0.9) if guess else []
        return f"asks for a resource of that name; is {near[0]} meant?" if near else None
    if name in _WITHOUT_EFFECT:
        return "does not decide where the job runs and is left out of the ad"
    if _NOT_MODELLED.fullmatch(name):
        return "is not supported: what it adds to the ad is missing here"
    known = [*_FOLLOWED, *_EXPRESSIONS, *_STRINGS]
    near = difflib.get_close_matches(name, known, n=1, cutoff=0.75) if guess else []
    return "is no command that is known here" + (f"; is {near[0]} meant?" if near else "")


def describe(
    commands: Mapping[str, Command], access_point: AccessPoint | None = None, where: str = ""
) -> JobDescription:
    """The job that these commands describe.

    Parameters
    ----------
    commands : by name in lower case, macros expanded; custom attributes as my.name
    where : what errors call their source

    Raises
    ------
    InputError : a value that condor_submit would refuse, with its line
    """
    return _Maker(commands, access_point or AccessPoint(), where).make()


def of_ad(ad: classad2.ClassAd) -> JobDescription:
    """The description of a job that was submitted already; what its submitter wrote is told from what was added."""
    requirements = Expression.parse(str(ad.lookup("Requirements")) if "Requirements" in ad else "true")
    own: list[str] = []
    standards: list[tuple[frozenset[str], str]] = []
    for node in requirements.conjuncts():
        text = requirements.text_of(node)
        bare = _bare(text)
        if bare in _GPU_CLAUSES:
            standards.append((frozenset(), GPUS))
        elif bare in _ADDED or bare.startswith(_ADDED_BEGIN):
            standards.append((frozenset(), text))
        else:
            own.append(text)
    attributes = {name: str(ad.lookup(name)) for name in ad if name.lower() != "requirements"}
    return JobDescription(_spelled(attributes), " && ".join(own), 0, tuple(standards))


def _spelled(attributes: Mapping[str, str]) -> dict[str, str]:
    """The attributes, those that are looked at here with the case they have here."""
    known = {
        name.lower(): name
        for name in ("RequestGPUs", "RequireGPUs", "RequestCpus", "RequestMemory", "RequestDisk")
    }
    return {known.get(name.lower(), name): text for name, text in attributes.items()}


def _bare(text: str) -> str:
    bare = re.sub(r"\s+|\b(?:target|my)\.", "", text.lower())
    while bare.startswith("(") and bare.endswith(")") and _one_pair(bare):
        bare = bare[1:-1]
    return bare


def _one_pair(text: str) -> bool:
    depth = 0
    for place, character in enumerate(text):
        depth += (character == "(") - (character == ")")
        if depth == 0:
            return place == len(text) - 1
    return False


_GPU_CLAUSES = {"gpus>=requestgpus", "countmatches(requiregpus,availablegpus)>=requestgpus"}
_ADDED = {
    'arch=="x86_64"', 'opsys=="linux"', "disk>=requestdisk", "disk>=diskusage", "memory>=requestmemory",
    "cpus>=requestcpus", "hasfiletransfer", "hascontainer", "hasdockerurl", "hassif", "hassandboximage", "hasdocker",
    "hasselfcheckpointtransfers", "filesystemdomain==filesystemdomain",
    "(filesystemdomain==filesystemdomain)||(hasfiletransfer)",
}  # fmt: skip
_ADDED_BEGIN = (
    "stringlistimember(",
    "(filesystemdomain==filesystemdomain)||(hasfiletransfer",
    "versioncmp(split(condorversion)",
    "versionge(split(condorversion)",
)


class _Maker:
    """Goes through the commands in condor_submit's order."""

    def __init__(self, commands: Mapping[str, Command], access_point: AccessPoint, where: str) -> None:
        self.commands = {_SYNONYMS.get(key, key): command for key, command in commands.items()}
        self.access_point = access_point
        self.where = where
        self.ad: dict[str, str] = {}
        self.standards: list[tuple[frozenset[str], str]] = []
        self.transfers: list[str] = []

    # --- reading values

    def text(self, name: str) -> str:
        command = self.commands.get(name)
        return command.text if command else ""

    def fail(self, name: str, reason: str) -> InputError:
        command = self.commands.get(name)
        place = ", ".join(
            part for part in (self.where, f"line {command.line}" if command and command.line else "") if part
        )
        return InputError(f"{place + ': ' if place else ''}{name}: {reason}")

    def expression(self, name: str, text: str | None = None) -> str:
        """A command's value as one whole expression."""
        said = self.text(name) if text is None else text
        try:
            parsed = Expression.parse(said)
        except ExpressionError as error:
            command = self.commands.get(name)
            if not self.where and not (command and command.line):
                raise
            raise self.fail(name, f"column {error.column}: {error.reason}") from error
        return parsed.text_of(parsed.root)

    def flag(self, name: str, *, default: bool = False) -> bool:
        said = self.text(name).lower()
        if not said:
            return default
        if said in {"true", "t", "1"}:
            return True
        if said in {"false", "f", "0"}:
            return False
        raise self.fail(name, f"found {said[:40]!r}; expected true or false")

    def word(self, name: str) -> str:
        said = self.text(name)
        if re.search(r"\s", said):
            raise self.fail(name, f"found {said[:40]!r}; expected a name without blanks")
        return said

    def size(self, name: str, unit: str) -> str:
        """A size, rounded up to whole units (K or M), or an expression."""
        said = self.text(name)
        match = _SIZE.fullmatch(said)
        if match is None:
            return self.expression(name)
        power = _POWER[(match[2] or unit).upper()] - _POWER[unit]
        return str(math.ceil(float(match[1]) * 1024.0**power))

    # --- making the ad

    def make(self) -> JobDescription:
        self.ad = dict(_FRESH)
        self.identity()
        self.files()
        for table, read in (
            (_EXPRESSIONS, self.expression),
            (_STRINGS, lambda name: _string(_unquote(self.text(name)))),
        ):
            for name, attribute in table.items():
                if self.text(name):
                    self.ad[attribute] = read(name)
        self.retries()
        self.accounting()
        self.requests()
        forced = self.custom()
        self.added()
        user = self.commands.get("requirements")
        expression = self.expression("requirements") if user and user.text else ""
        return JobDescription(self.ad, expression, user.line if user else 0, tuple(self.standards), forced)

    def identity(self) -> None:
        here = self.access_point
        universe = self.text("universe").lower() or "vanilla"
        if universe not in _UNIVERSES:
            raise self.fail(
                "universe",
                f"found {universe[:40]!r}; expected vanilla, container or docker: the others don't run in slots like these",
            )
        self.universe = "vanilla" if universe == "5" else universe
        self.ad |= {name: str(here.executable_kib) for name in ("ImageSize", "ExecutableSize", "DiskUsage")}
        self.ad["JobLeaseDuration"] = str(here.lease_s)
        if self.text("rank"):
            self.ad["Rank"] = self.expression("rank")
        priority = self.text("priority")
        if priority:
            if not re.fullmatch(r"[+-]?\d+", priority):
                raise self.fail("priority", f"found {priority[:40]!r}; expected a whole number")
            self.ad["JobPrio"] = str(int(priority))
        notification = self.text("notification").lower()
        if notification:
            if notification not in _NOTIFICATIONS:
                raise self.fail(
                    "notification", f"found {notification[:40]!r}; expected {', '.join(_NOTIFICATIONS)}"
                )
            self.ad["JobNotification"] = str(_NOTIFICATIONS[notification])
        if self.flag("hold"):
            self.ad |= {"JobStatus": "5", "HoldReasonCode": "15",
                        "HoldReason": _string("submitted on hold at user's request")}  # fmt: skip

    def files(self) -> None:
        here = self.access_point
        folder = _joined(here.folder, self.text("initialdir"))
        self.ad["Iwd"] = _string(folder)
        executable = self.text("executable")
        carried = self.flag("transfer_executable", default=True)
        if executable:
            self.ad["Cmd"] = _string(_joined(folder, executable) if carried else executable)
        set_by_hand = bool(self.text("transfer_executable"))
        contained = self.universe != "vanilla" or self.text("container_image") or self.text("docker_image")
        if not carried or (contained and not set_by_hand and executable.startswith("/")):
            self.ad["TransferExecutable"] = "false"
        self.arguments()
        for command, attribute, stream in (("input", "In", "StreamIn"), ("output", "Out", "StreamOut"), ("error", "Err", "StreamErr")):  # fmt: skip
            name = self.text(command)
            self.ad[attribute] = _string(name or "/dev/null")
            if name:
                self.ad[stream] = str(self.flag(f"stream_{command}")).lower()
            else:
                self.ad[f"Transfer{attribute}"] = "false"
        if self.text("log"):
            self.ad["UserLog"] = _string(_joined(folder, self.text("log")))
        self.transfers = _listed(self.text("transfer_input_files"))
        for command, attribute in (("transfer_output_files", "TransferOutput"), ("transfer_checkpoint_files", "TransferCheckpoint")):  # fmt: skip
            if self.text(command):
                self.ad[attribute] = _string(",".join(_listed(self.text(command))))

    def arguments(self) -> None:
        said = self.text("arguments")
        if said.startswith('"'):
            if len(said) < 2 or not said.endswith('"'):
                raise self.fail("arguments", 'a value that begins with " must end with one')
            self.ad["Arguments"] = _string(_new_arguments(said[1:-1].replace('""', '"')))
            return
        bare = said.replace('\\"', "\0")
        if '"' in bare:
            raise self.fail("arguments", 'found a " inside; expected \\" or the whole value in quotes')
        told = " ".join(bare.split()).replace("\0", '"')
        self.ad["Args" if told else "Arguments"] = _string(told)

    def retries(self) -> None:
        if not (self.text("max_retries") or self.text("success_exit_code") or self.text("retry_until")):
            return
        self.ad["JobMaxRetries"] = self.expression("max_retries") if self.text("max_retries") else "2"
        code = "0"
        if self.text("success_exit_code"):
            self.ad["JobSuccessExitCode"] = self.expression("success_exit_code")
            code = "JobSuccessExitCode"
        until = f" || {self.expression('retry_until')}" if self.text("retry_until") else ""
        self.ad["OnExitRemove"] = f"NumJobCompletions > JobMaxRetries || ExitCode =?= {code}{until}"
        self.ad.setdefault("OnExitHold", "false")

    def accounting(self) -> None:
        nice, group, user = (
            self.flag("nice_user"),
            self.word("accounting_group"),
            self.word("accounting_group_user"),
        )
        if nice:
            self.ad.setdefault("MaxJobRetirementTime", "0")
            group = group or "nice-user"
        if group or user:
            user = user or self.access_point.owner
            self.ad["AcctGroupUser"] = _string(user)
            self.ad["AccountingGroup"] = _string(f"{group}.{user}" if group else user)
            if group:
                self.ad["AcctGroup"] = _string(group)
        if self.text("concurrency_limits_expr"):
            self.ad["ConcurrencyLimits"] = self.expression("concurrency_limits_expr")
        elif self.text("concurrency_limits"):
            limits = [
                limit for limit in re.split(r"[,\s]+", self.text("concurrency_limits").lower()) if limit
            ]
            wrong = next((limit for limit in limits if not _LIMIT.fullmatch(limit)), None)
            if wrong:
                raise self.fail(
                    "concurrency_limits", f"found {wrong[:40]!r}; expected names such as licence:2"
                )
            self.ad["ConcurrencyLimits"] = _string(",".join(sorted(limits)))

    def requests(self) -> None:
        defaults = {
            "request_cpus": "1",
            "request_memory": "ifthenelse(MemoryUsage =!= undefined,MemoryUsage,(ImageSize + 1023) / 1024)",
            "request_disk": "DiskUsage",
        }
        for name, attribute, unit in (("request_cpus", "RequestCpus", ""), ("request_memory", "RequestMemory", "M"), ("request_disk", "RequestDisk", "K")):  # fmt: skip
            said = self.text(name)
            if said.lower() == "undefined":
                continue
            self.ad[attribute] = (
                defaults[name] if not said else self.size(name, unit) if unit else self.expression(name)
            )
        gpus = self.text("request_gpus")
        if gpus and gpus.lower() != "undefined":
            self.ad["RequestGPUs"] = self.expression("request_gpus")
            self.device_requests()
        for key, command in self.commands.items():
            if re.fullmatch(r"request_\w+", key) and key not in _FOLLOWED | _MISTYPED and command.text:
                self.ad[f"Request{command.name[len('request_') :]}"] = self.expression(key)

    def device_requests(self) -> None:
        clauses = []
        if self.text("require_gpus"):
            own = Expression.parse(self.expression("require_gpus"))
            named = {reference.name.lower() for reference in own.references()}
            weak = own.root.kind == "ternary" or (own.root.kind == "binary" and own.root.name == "||")
            clauses.append((frozenset[str](), own.text, weak))
        else:
            named = set()
        for command, attribute, clause in (
            ("gpus_minimum_capability", "GPUsMinCapability", "Capability >= GPUsMinCapability"),
            ("gpus_maximum_capability", "GPUsMaxCapability", "Capability <= GPUsMaxCapability"),
            ("gpus_minimum_memory", "GPUsMinMemory", "GlobalMemoryMb >= GPUsMinMemory"),
            ("gpus_minimum_runtime", "GPUsMinRuntime", "MaxSupportedVersion >= GPUsMinRuntime"),
        ):
            if not self.text(command):
                continue
            self.ad[attribute] = {"gpus_minimum_memory": lambda: self.size("gpus_minimum_memory", "M"),
                                  "gpus_minimum_runtime": self.runtime}.get(command, lambda name=command: self.expression(name))()  # fmt: skip
            if clause.split()[0].lower() not in named:
                clauses.append((frozenset(), clause, False))
        if clauses:
            several = len(clauses) > 1
            self.ad["RequireGPUs"] = " && ".join(
                f"({text})" if weak and several else text for _, text, weak in clauses
            )

    def runtime(self) -> str:
        """A CUDA version as condor_gpu_discovery counts it: 12.1 is 12010."""
        match = re.fullmatch(r"(\d{1,3})(?:\.(\d{1,2}))?", self.text("gpus_minimum_runtime"))
        if match is None:
            return self.expression("gpus_minimum_runtime")
        return str(int(match[1]) * 1000 + int(match[2] or 0) * 10)

    def custom(self) -> str:
        """+Attr and MY.Attr, which win over what commands say; gives +Requirements, which wins over everything."""
        known = {name.lower(): name for name in (*self.ad, "RequireGPUs", "RequestGPUs")}
        forced = ""
        for key, command in self.commands.items():
            if not key.startswith("my."):
                continue
            name = command.name.partition(".")[2] if command.name.lower().startswith("my.") else command.name
            value = self.expression(key) if command.text else "undefined"
            if name.lower() == "requirements":
                forced = value
            else:
                self.ad[known.get(name.lower(), name)] = value
        return forced

    # --- Requirements

    def added(self) -> None:
        here = self.access_point
        self.add({"arch"}, f'(TARGET.Arch == "{here.arch}")')
        self.contained()
        self.resources()
        self.transferred()
        if self.text("checkpoint_exit_code"):
            self.ad.setdefault("SuccessCheckpointExitCode", self.expression("checkpoint_exit_code"))
            self.ad["WantFTOnCheckpoint"] = "true"
            self.add({"hasselfcheckpointtransfers"}, "TARGET.HasSelfCheckpointTransfers")

    def add(self, names: Iterable[str], text: str) -> None:
        self.standards.append((frozenset(names), text))

    def contained(self) -> None:
        """The image, and what the machine must be able to do with it; else the operating system."""
        image, docker = self.text("container_image"), self.text("docker_image")
        if self.universe == "docker":
            if image:
                raise self.fail("container_image", "is for container jobs; a docker job has a docker_image")
            if not docker:
                raise self.fail("docker_image", "is missing; a docker job needs one")
            self.ad |= {"DockerImage": _string(_unquote(docker)), "WantDocker": "true"}
            self.add((), "TARGET.HasDocker")
            return
        if self.universe == "container" and not (image or docker):
            raise self.fail("container_image", "is missing; a container job needs it or docker_image")
        if not image and not docker:
            self.add(SYSTEMS, f'(TARGET.OpSys == "{self.access_point.opsys}")')
            return
        if docker and not image:
            self.ad["DockerImage"] = _string(_unquote(docker))
            ability = ("WantDockerImage", "HasDockerURL")
        else:
            ability = self.image(image)
        self.ad |= {"WantContainer": "true", ability[0]: "true"}
        self.add((), "TARGET.HasContainer")
        self.add((), f"TARGET.{ability[1]}")

    def image(self, image: str) -> tuple[str, str]:
        """A container_image: where it comes from, under which name the job finds it, and of which kind it is."""
        scheme = (_URL.match(image) or ["", ""])[1]
        carried = self.flag("transfer_container", default=True)
        if not carried:
            self.ad["TransferContainer"] = "false"
        if image.startswith("docker:"):
            self.ad |= {"ContainerImage": _string(image), "ContainerImageSource": '"docker"'}
            return "WantDockerImage", "HasDockerURL"
        if scheme == "oras":
            self.ad |= {"ContainerImage": _string(image), "ContainerImageSource": '"oras"'}
            return "WantSandboxImage", "HasSandboxImage"
        shared = image.startswith("/cvmfs/")
        if shared or not carried:
            self.ad |= {"ContainerImage": _string(image), "ContainerImageSource": '"local"'}
        else:
            self.transfers.append(image)
            self.ad["ContainerImage"] = _string(image.rstrip("/").rpartition("/")[2])
            self.ad["ContainerImageSource"] = _string(scheme or "cedar")
        return ("WantSIF", "HasSIF") if image.endswith(".sif") else ("WantSandboxImage", "HasSandboxImage")

    def resources(self) -> None:
        if "RequestDisk" not in self.ad:
            self.add((), "(TARGET.Disk >= DiskUsage)")
        elif _above(self.ad["RequestDisk"], 0):
            self.add((), "(TARGET.Disk >= RequestDisk)")
        if "RequestMemory" in self.ad and _above(self.ad["RequestMemory"], 1):
            self.add((), "(TARGET.Memory >= RequestMemory)")
        if "RequestCpus" in self.ad and _above(self.ad["RequestCpus"], 1):
            self.add({"cpus"}, "(TARGET.Cpus >= RequestCpus)")
        asked = [name for name in self.ad if re.fullmatch(r"Request\w+", name)]
        for attribute in sorted(asked, key=str.lower):
            name = attribute[len("Request") :]
            if name in {"Cpus", "Memory", "Disk"} or not _above(self.ad[attribute], 0):
                continue
            if name == "GPUs":
                self.add({"gpus"}, GPUS)
            elif self.ad[attribute].startswith('"'):
                self.add({name.lower()}, f"regexp({attribute}, TARGET.{name})")
            else:
                self.add({name.lower()}, f"(TARGET.{name} >= {attribute})")

    def transferred(self) -> None:
        """How files get there, and the clause on it."""
        when = self.text("when_to_transfer_output").upper() or "ON_EXIT"
        should = self.text("should_transfer_files").upper() or (
            "YES" if when == "ON_EXIT_OR_EVICT" else "IF_NEEDED"
        )
        if should not in {"YES", "NO", "IF_NEEDED"}:
            raise self.fail("should_transfer_files", f"found {should[:40]!r}; expected YES, NO or IF_NEEDED")
        if when not in {"ON_EXIT", "ON_EXIT_OR_EVICT", "ON_SUCCESS"}:
            raise self.fail(
                "when_to_transfer_output",
                f"found {when[:40]!r}; expected ON_EXIT, ON_EXIT_OR_EVICT or ON_SUCCESS",
            )
        if should == "NO" and self.transfers:
            raise self.fail(
                "should_transfer_files", f"is NO, but {self.transfers[-1][:60]!r} must be transferred"
            )
        self.ad["ShouldTransferFiles"] = _string(should)
        if should != "NO":
            self.ad["WhenToTransferOutput"] = _string(when)
        if should != "YES":
            self.ad["FileSystemDomain"] = _string(self.access_point.file_system_domain)
        if self.transfers:
            self.ad["TransferInput"] = _string(",".join(self.transfers))
        urls = [*self.transfers, self.text("output_destination"),
                *(part.partition("=")[2].strip() for part in _unquote(self.text("transfer_output_remaps")).split(";"))]  # fmt: skip
        methods = sorted({match[1].lower() for url in urls if (match := _URL.match(url))})
        ability = ["TARGET.HasFileTransfer"]
        if when == "ON_SUCCESS" or self.text("transfer_checkpoint_files"):
            ability.append('versioncmp(split(TARGET.CondorVersion)[1], "8.9.7") >= 0')
        if methods:
            self.ad["WantTransferPluginMethods"] = _string(",".join(methods))
            ability += [
                f'stringListIMember("{method}", TARGET.HasFileTransferPluginMethods)' for method in methods
            ]
        self.add_transfer(should, " && ".join(ability))

    def add_transfer(self, should: str, ability: str) -> None:
        domain = "TARGET.FileSystemDomain == MY.FileSystemDomain"
        if should == "YES":
            self.add({"hasfiletransfer"}, f"({ability})")
        elif should == "NO":
            self.add({"filesystemdomain"}, f"({domain})")
        else:
            user = self.text("requirements")
            named = (
                {r.name.lower() for r in Expression.parse(self.expression("requirements")).references()}
                if user
                else set()
            )
            if "filesystemdomain" in named:
                self.add({"hasfiletransfer"}, f"({ability})")
            else:
                self.add({"hasfiletransfer"}, f"(({domain}) || ({ability}))")


def _string(text: str) -> str:
    """A text as a ClassAd string."""
    return (
        '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("\r", "\\r") + '"'
    )


def _unquote(text: str) -> str:
    return text[1:-1] if len(text) > 1 and text[0] == text[-1] == '"' else text


def _quoted_name(name: str) -> str:
    return name if re.fullmatch(r"[A-Za-z_]\w*", name) and name.lower() not in _RESERVED else f"'{name}'"


_RESERVED = {"true", "false", "undefined", "error", "is", "isnt"}


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _joined(folder: str, name: str) -> str:
    if not name or name.startswith("/"):
        return name or folder
    return f"{folder.rstrip('/')}/{name}"


def _number(text: str) -> float | None:
    return float(text) if re.fullmatch(r"-?\d+(?:\.\d+)?", text) else None


def _above(text: str, least: float) -> bool:
    """Whether a request is larger than `least`, as far as it is a plain number."""
    value = _number(text)
    return value is None or value > least


def _new_arguments(text: str) -> str:
    """Arguments in the new syntax, where single quotes hold a word together, as the ad keeps them."""
    words: list[str] = []
    word, inside, begun = "", False, False
    place = 0
    while place < len(text):
        character = text[place]
        if character == "'":
            if inside and text.startswith("''", place):
                word += "''''"
                place += 1
            else:
                inside = not inside
                begun = True
        elif character.isspace() and not inside:
            words += [word or "''"] if word or begun else []
            word, begun = "", False
        else:
            word += f"'{character}'" if character.isspace() else character
        place += 1
    words += [word or "''"] if word or begun else []
    return " ".join(words)
