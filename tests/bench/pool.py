"""Measurements side by side, each a command or more of one thread."""
import concurrent.futures
import json
import subprocess


def run_json(command):
    """The JSON that a command prints, or the reason why it failed."""
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        return None, (done.stderr.strip().splitlines() or ['no reason given'])[-1]
    return json.loads(done.stdout), None


def in_order(jobs, tasks):
    """The results of functions without arguments, in their order; the last ones, which take longest, are begun first."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        futures = [pool.submit(task) for task in reversed(tasks)]
        for future in reversed(futures):
            yield future.result()


def threads(jobs):
    """The option that keeps to a core where several commands run at once."""
    return ['--threads', '1'] if jobs > 1 else []
