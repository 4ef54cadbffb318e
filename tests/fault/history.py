"""Each shared object's history is linearizable: Porcupine says so (linear/)."""
import json, os, shutil, subprocess, tempfile

HERE = os.path.dirname(os.path.abspath(__file__)) + "/linear"


def binary():
    """The checker, built when it is missing; None where there is no Go."""
    out = os.environ.get("WEFT_LINEAR", "build-faults/linear")
    if os.path.exists(out):
        return os.path.abspath(out)
    if not shutil.which("go"):
        return None
    out = os.path.abspath(out)
    built = subprocess.run(["go", "build", "-o", out, "."], cwd=HERE, capture_output=True, text=True)
    if built.returncode:
        print(built.stderr.strip(), flush=True)
    return None if built.returncode else out


def check(shared):
    checker = binary()
    if not checker:
        print("linearizability: not checked (no Go, or its modules cannot be had)", flush=True)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
        for op in shared.history:
            f.write(json.dumps(op) + "\n")
        f.flush()
        out = subprocess.run([checker, f.name], capture_output=True, text=True)
    print(out.stdout.strip(), flush=True)
    if out.returncode:
        shared.broken(f"not linearizable: {out.stdout} {out.stderr}")
        with open(shared.cluster.folder + "/history.json", "w") as f:
            f.writelines(json.dumps(op) + "\n" for op in shared.history)
