"""Submit files for the oracle: one-liners for every rule, and whole files as users of GPUs and containers write them.

A file without an executable gets /bin/sleep, one without queue gets a queue.
"""

REQUESTS = [
    "", "request_cpus = 4", "request_cpus = 1", "request_cpus = 1.5", "request_cpus = 0", "request_cpus = RequestGPUs * 2\nrequest_gpus = 1",
    "request_memory = 2GB\nrequest_disk = 10GB", "request_memory = 2.5G", "request_memory = 2048M", "request_memory = 1T", "request_memory = 2 GB",
    "request_memory = 512\nrequest_disk = 1000", "request_memory = 512KB\nrequest_disk = 1MB", "request_memory = 2.5", "request_memory = 1e3",
    "request_memory = 0.5g\nrequest_disk = 1.5", "request_memory = 0\nrequest_disk = 0", "request_memory = 1\nrequest_disk = 1", "request_memory = MY.Foo * 2",
    "request_memory = undefined\nrequest_disk = undefined\nrequest_cpus = undefined", "request_disk = MY.Foo", 'request_memory = "2GB"',
    "RequestMemory = 4096\nRequestGPUs = 1", "request_memory = 1GB\nREQUEST_MEMORY = 2GB", "request_foo = 2\nrequest_gpus = 1\nrequest_bar = 3",
    'request_foo = "abc"', "request_foo = 3\nrequirements = Foo > 1", "request_foo = 0", "+RequestMemory = 5000", "+RequestGPUs = 2",
    "request_gpu = 1", "request_memory = 2GB\nretry_request_memory = 4GB",
]  # fmt: skip

GPUS = [
    "request_gpus = 2", "request_gpus = 0", "request_gpus = -1", "request_gpus = undefined", "request_gpus =", "request_gpus = $(n:2)",
    "request_gpus = 1\nrequire_gpus = Capability >= 8.0", "require_gpus = Capability >= 8.0", "gpus_minimum_capability = 7",
    'request_gpus = 1\nrequire_gpus = Capability > 8 || DeviceName == "x"\ngpus_minimum_memory = 3',
    "request_gpus = 1\nrequire_gpus = Capability >= 8.0\ngpus_minimum_capability = 7.5\ngpus_maximum_capability = 9.0\ngpus_minimum_memory = 16GB\ngpus_minimum_runtime = 12.1",
    "request_gpus = 1\ngpus_minimum_capability = 7.5", "request_gpus = 1\ngpus_maximum_capability = 8.0", "request_gpus = 1\ngpus_minimum_memory = 16000",
    "request_gpus = 1\ngpus_minimum_memory = 2.5GB", "request_gpus = 1\ngpus_minimum_runtime = 12", "request_gpus = 1\ngpus_minimum_runtime = 11.8",
    "request_gpus = 1\ngpus_minimum_runtime = 12.10", "request_gpus = 1\ngpus_minimum_runtime = 12010", "request_gpus = 1\ngpus_minimum_capability = x",
    "request_gpus = 1\nrequirements = TARGET.GPUs > 0", "request_gpus = 1\ngpus_minimum_capability = 7.5\nrequirements = GPUs_Capability >= 7",
    "request_gpus = 1\nrequirements = CUDACapability >= 6.0", "request_gpus = 1\n+RequireGPUs = Capability > 7", "request_gpus = 1\n+RequestGPUs = 2", "request_gpus = 1\nrequire_gpus =",
]  # fmt: skip

CONTAINERS = [
    "universe = container\ncontainer_image = docker://nvcr.io/nvidia/pytorch:24.01-py3", "universe = container\ncontainer_image = foo.sif",
    "container_image = osdf:///ospool/ap20/data/x.sif", "container_image = oras://registry/x", "container_image = docker:///x",
    "container_image = /cvmfs/singularity.opensciencegrid.org/htc/rocky:9-cuda-12.6.0", "container_image = /cvmfs/x/foo.sif", "container_image = /home/x/dir/",
    "container_image = foo.img", "container_image = x.SIF", "container_image = http://x/foo.sif", "universe = docker\ndocker_image = a/b", "docker_image = a/b",
    "docker_image = docker://a/b", 'universe = docker\ndocker_image = "x"', "universe = vanilla\ncontainer_image = docker://x", "container_image =",
    '+SingularityImage = "/cvmfs/x"', 'MY.SingularityImage = "/cvmfs/x"', "container_image = foo.sif\ncontainer_target_dir = /x",
    "container_image = foo.sif\nshould_transfer_files = yes", "container_image = foo.sif\ntransfer_container = false",
    "container_image = foo.sif\nrequirements = HasContainer && TARGET.HasSIF", "container_image = docker://x\nrequirements = OpSys == \"LINUX\" && HasDockerURL",
    "container_image = foo.sif\ncheckpoint_exit_code = 85", "container_image = stash:///x/x.sif\ntransfer_input_files = a,b",
    'universe = docker\ndocker_image = a/b\nrequirements = HasDocker && Arch == "x"', "executable = bin/sleep\ncontainer_image = foo.sif",
    "executable = /bin/sleep\ntransfer_executable = true\ncontainer_image = docker://x", "universe = Container\ncontainer_image = $(i)\ni = x.sif", "universe = 5",
]  # fmt: skip

FILES = [
    "should_transfer_files = yes", "should_transfer_files = no", "should_transfer_files = IF_NEEDED", "transfer_input_files = a b , c",
    "transfer_input_files = http://x/a", "transfer_input_files = osdf:///x/a, http://y, https://z", "transfer_input_files = osdf:///x/a\nshould_transfer_files = yes",
    "should_transfer_files = yes\nrequirements = HasFileTransfer", "requirements = HasFileTransfer", 'requirements = FileSystemDomain == "x"',
    'should_transfer_files = no\nrequirements = FileSystemDomain == "x"', "when_to_transfer_output = ON_EXIT_OR_EVICT",
    "should_transfer_files = yes\nwhen_to_transfer_output = on_success", "transfer_input_files = osdf:///x/a\nwhen_to_transfer_output = on_success",
    "transfer_output_files = a, b", 'transfer_output_remaps = "a=osdf:///x"', "output_destination = osdf:///x", "transfer_checkpoint_files = a,b\ncheckpoint_exit_code = 85",
    "transfer_checkpoint_files = a\ncheckpoint_exit_code = 85\ntransfer_input_files = osdf:///x", "checkpoint_exit_code = 85",
    "checkpoint_exit_code = 85\nrequirements = HasSelfCheckpointTransfers", "checkpoint_exit_code = 85\n+SuccessCheckpointExitCode = 3",
    "log = x.log\noutput = o\nerror = e\ninput = /dev/zero", "initialdir = tmp\nlog = a/b.log", "log = /tmp/x\noutput = /tmp/y", "stream_output = true\noutput = o",
    "executable = bin/sleep\ntransfer_executable = false", "executable = $(e)\ne = /bin/sleep",
]  # fmt: skip

EXPRESSIONS = [
    'requirements = OpSysAndVer == "x"', "requirements = OpSysMajorVer >= 8", 'requirements = OpSysMajorVer >= 8 && OpSysName == "x"', "requirements = IsLinux", 'requirements = Arch == "X86_64"',
    "requirements = Memory > 1", "requirements = MY.Memory > 1 && TARGET.Disk > 5", "requirements = TARGET.Cpus > 1\nrequest_cpus = 3", "requirements = (Cpus) > 1\nrequest_cpus = 2",
    "requirements = true", "requirements =", "requirements = 5", 'requirements = regexp("x", Arch)', "requirements = [Arch = 1].Arch == 1", "requirements = TARGET.Foo && Bar\n+Bar = TARGET.Arch",
    "requirements = (Memory > 1) && \\\n   (Disk > 2)", "+Requirements = true", 'requirements = Name == "é"', 'requirements = stringListMember(GLIDEIN_Site, "A,B")', "requirements = a is undefined || b isnt 3",
    "rank = GPUs_Capability", "rank = Memory > 4 ? 1 : 0", "preferences = Memory", "periodic_hold = JobStatus == 2\nperiodic_release = false\nperiodic_remove = true",
    "on_exit_hold = ExitCode != 0\non_exit_remove = true",
]  # fmt: skip

ACCOUNTING = [
    "nice_user = true", "nice_user = false", "nice_user = 1", "accounting_group = a.b", "accounting_group = a.b\naccounting_group_user = u", "accounting_group_user = u",
    "nice_user = true\naccounting_group_user = u", "nice_user = true\naccounting_group = g", "accounting_group = <b>", "concurrency_limits = a,B:2", "concurrency_limits = b, a", "concurrency_limits = a b c",
    "concurrency_limits = a:1.5, A:2", 'concurrency_limits_expr = strcat("a")', "priority = 5", "prio = -5", "+JobPrio = 5", '+ProjectName = "x"', "My.Foo = Bar + 1", "+WantGPULab = true\n+GPUJobLength = \"short\"",
    "batch_name = x y", 'batch_name = "x"', "max_retries = 3", "max_retries = 3\nretry_until = ExitCode == 3", "max_retries = 3\non_exit_hold = true", "success_exit_code = 3", "max_retries = 2\nsuccess_exit_code = 3",
    "job_lease_duration = 100\nkeep_claim_idle = 100\nallowed_execute_duration = 9\nallowed_job_duration = 9", "job_max_vacate_time = 3\nmax_job_retirement_time = 3\nnext_job_start_delay = 3",
    "want_graceful_removal = true\nleave_in_queue = true", "notify_user = a\nnotification = error", "hold = true", "description = x y", "job_ad_information_attrs = A",
]  # fmt: skip

LANGUAGE = [
    'arguments = a   b', 'arguments = "a \'b c\' d"', 'arguments = "a ""b"" \'it\'\'s\' \'\' x"', "arguments = a \\\"b\\\"", "arguments = 'a b'", "arguments = é ü",
    "a = $(b)\nb = $(c)\nc = 3\narguments = $(a)", "arguments = [$(nope)] [$(nope:def)] [$(nope:)] $(a:$(b:x))", "x =\narguments = [$(x:def)]", "a = $(a) 1\na = $(a) 2\narguments = $(a)",
    "x = 5\narguments = $INT(x)\nx = 7", "arguments = $$(Memory) $$([Memory*2])", "arguments = $ENV(NOPE) $ENV(NOPE:d) $FOO(a)", "f = /a/b/c.txt\narguments = $F(f) $Fn(f) $Fp(f) $Fx(f) $Fnx(f) $Fd(f) $BASENAME(f) $DIRNAME(f) $F(nope)",
    "i = 7\narguments = $INT(i) $INT(i,%04d) $REAL(i) $REAL(i,%.2f)", "x = 2*3\narguments = $INT(x) $REAL(x) $EVAL(x) $EVAL(1+2) $EVAL(z)", "arguments = $CHOICE(1,a,b,c)", "l = x,y,z\ni = 2\narguments = $CHOICE(i,l)",
    "s = abcdef\narguments = $SUBSTR(s,2,3) $SUBSTR(s,-2) $STRING(s)", "arguments = $RANDOM_CHOICE(a,a) $RANDOM_INTEGER(3,3)", "arguments = $(DOLLAR)x $(OPSYS) $(ARCH) $(IsLinux)", "arguments = $(a b) $() $(x:a)b)",
    "if true\narguments = 1\nelse\narguments = 2\nendif", "x = 1\nif defined x\narguments = d\nendif\nif defined y\narguments = e\nendif", "if version >= 8.1\narguments = v\nelse\narguments = w\nendif",
    "if $(x:0)\narguments = v\nelif 1\narguments = w\nendif", "if ! true\narguments = v\nendif", "if false\nif true\narguments = 1\nelse\narguments = 2\nendif\nelse\narguments = 3\nendif", "arguments @=end\na\nb\n@end", "a = b\\\n    c\narguments = $(a)",
    "# c \\\narguments = 1", "  arguments   =   x y   ", '+A = 1\nMY.B = $(Process)\n-C = 2\n+D = "$(a:x)"\n+E =', "my.a = 1\n+A = 2", '+A = "a\\"b"', "a.b = 1\narguments = $(a.b)", "warning : foo", "request_memory = $(m:1)GB\nrequest_disk = $(m:1) * 1024",
]  # fmt: skip

_TELL = (
    "arguments = $(Item) $(ProcId) $(Process) $(Cluster) $(ClusterId) $(Step) $(Row) $(ItemIndex) $(x) $(y)\n"
)
QUEUES = [_TELL + queue for queue in (
    "queue", "queue 3", "QUEUE\t2", "queue 2*2", "queue $(n)", "n = 2\nqueue $(n)", "queue x in a b c", "queue in (a, b c)", "queue 2 x in (a,,b)", "queue x,y from (\na b\nc, d e\n)", "queue from (\na b\n\n# c\nc\n)",
    "queue x y from (\na,b\n)", "queue x from [1:] (\na\nb\nc\n)", "queue x from [::2] (\na\nb\nc\n)", "queue x in [1] (a b c)", "queue x in [:-1] (a b c)", "queue 1 in [0:2] a b c", "queue x,y,z from (\n1 2 3\n)", "queue in (\na\nb\n)",
    "queue 2 from (\na\nb\n)", "queue 1 x,y from (\na\tb\n)", "queue x from (a b)", "queue x,y from (\n 'a b', c\n)", "queue  x,  y   in (a b c d)", "queue x,y from (\na  ,  b c \n)", "queue x from (\na # b\n)", "queue 2\narguments = 2\nqueue 1",
    "queue x from /etc/debian_version", "queue x matching files /etc/host*", "queue x matching dirs /usr/l*", "queue x matching (/etc/passwd /etc/nope*)", "queue x matching any usr/l*", "request_memory = 1GB\nqueue x,request_memory from (\na 2GB\nb 3GB\n)",
    "x = $(Process)\nrequest_memory = $(x) + 5\nqueue 2",
)]  # fmt: skip

WHOLE = [
    """# A GPU job of the OSPool
executable = /bin/sleep
arguments = $(Process)

+ProjectName = "Chemistry_Smith"
+JobDurationCategory = "Medium"
universe = container
container_image = osdf:///ospool/ap20/data/$(user)/$(image).sif
user = jane.doe
image = tensorflow-2.15

transfer_input_files = osdf:///ospool/ap20/data/jane.doe/in.tgz, run.py, $(x)
log = logs/$(Cluster).log
output = logs/$(Cluster).$(Process).out
error = logs/$(Cluster).$(Process).err

request_cpus = 1
request_memory = 8 GB
request_disk = 10GB
request_gpus = 1
gpus_minimum_capability = 7.5
gpus_minimum_memory = 10 GB
requirements = (OSGVO_OS_STRING == "RHEL 9" || \\
                HAS_CVMFS_singularity_opensciencegrid_org =?= true) && \\
               GLIDEIN_ResourceName =!= "Bad-Site"
queue x in (a.json, b.json)
""",
    """executable = /bin/sleep
universe = docker
docker_image = nvcr.io/nvidia/pytorch:24.01-py3
+WantGPULab = true
+GPUJobLength = "long"
+is_resumable = true
checkpoint_exit_code = 85
transfer_checkpoint_files = model.pt
request_gpus = $(gpus)
request_cpus = $(gpus)
request_memory = 16GB
request_disk = 20GB
gpus_minimum_capability = 8.0
gpus_maximum_capability = 9.0
gpus_minimum_runtime = 12.1
concurrency_limits = GPULAB_LONG.jane:$(gpus)
when_to_transfer_output = ON_EXIT_OR_EVICT
should_transfer_files = YES
queue gpus, name from (
   1 small
   2, middle one
   4  large
)
""",
    """# from an old course
universe   = vanilla
executable = /bin/sleep
Requirements = (CUDACapability >= 6.0) && (CUDAGlobalMemoryMb >= 4000) && regexp("GTX|RTX", CUDADeviceName)
request_gpus = 1
request_memory = 1024
+SingularityImage = "/cvmfs/singularity.opensciencegrid.org/opensciencegrid/tensorflow-gpu:latest"
rank = CUDACapability * 10 + Memory
notification = Never
getenv = true
queue 5
""",
    """executable = /bin/sleep
if defined fast
  gpus_minimum_capability = 8.9
else
  gpus_minimum_capability = $(least:7.0)
endif
request_gpus = 1
accounting_group = physics
accounting_group_user = alice
job_lease_duration = 3600
max_retries = 3
retry_until = ExitCode == 7
periodic_release = (NumJobStarts < 3) && (HoldReasonCode == 34)
request_memory = ifthenelse(MemoryUsage =!= undefined, MemoryUsage * 3 / 2, 2048)
queue 2 model in alexnet, resnet50
""",
    """executable = /bin/sleep
arguments = "--name '$(model) v1' --seed=$INT(seed,%03d)"
transfer_input_files = https://example.org/$Fnx(file), data.csv
batch_name = $(model)-$(Cluster)
request_gpus = 1
require_gpus = (DeviceName == "Tesla V100" || DeviceName == "A100") && ECCEnabled
gpus_minimum_memory = 32768
queue model, seed, file from (
  a, 1, /x/y/a.dat
  b, 2, /x/y/b.dat
)
""",
]

REFUSED = [
    "request_memory = 1000B", "request_memory = 4GiB", "request_memory = abc def", "request_memory = 1GB;", "request_cpus = 2GB", "request_gpus = 1\ngpus_minimum_runtime = 12.10.3", "universe = container", "universe = docker",
    "universe = docker\ncontainer_image = foo.sif", "universe = java", "universe = vm", "universe = standard", "universe = foo", "container_image = https://x/foo.sif\nshould_transfer_files = no", "container_image = foo.sif\nshould_transfer_files = no",
    "nice_user = yes", "priority = x", "accounting_group = a b", "concurrency_limits = a;b", 'arguments = a "b"', "requirements = (a\n", "requirements = A;B=2", "requirements = true] [x=1", "requirements = Memory = 3", "rank = A;B", "request_gpus = 1;2",
    "+A = foo bar", "+A = 1;B=2", "+A = 1] [x=1", "periodic_hold = a;b", "request_memory = 1GB # a comment", "arguments = $INT(i)\ni = x", "arguments = 1 \\\n\n 2", "arguments", "arguments : 3", "x y = 3", ";y", "if $(x:3) == 3\nendif", "error : stop",
    "include : /etc/hostname", "use template : x", "queue -1", "queue x in", "queue x", "queue for 3", "queue x from nofile", "queue foo from (", "queue x in (a,b,\n c)", "queue = 3", "if true\nqueue 2\nendif",
]  # fmt: skip

ALL = [*REQUESTS, *GPUS, *CONTAINERS, *FILES, *EXPRESSIONS, *ACCOUNTING, *LANGUAGE, *QUEUES, *WHOLE]


def whole(text: str) -> str:
    """The file as it is submitted."""
    lowered = text.lower()
    head = "" if "executable =" in lowered else "executable = /bin/sleep\n"
    return head + text + ("\n" if "\nqueue" in f"\n{lowered}" else "\nqueue\n")
