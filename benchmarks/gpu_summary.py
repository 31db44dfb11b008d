"""The results of gpu.sh as text to read."""

import statistics


def summary_of(content: dict) -> str:
    """The outcome of each step, and below it what it found."""
    head = f"{content['machine']}\ncommit {content['commit']}, {content['date']}, {content['minutes']} minutes\n"
    head += ", ".join(f"{name} {version}" for name, version in content["versions"].items()) + "\n"
    if content["is a try"]:
        head += "A try with the least model: its times say nothing.\n"
    parts = [head]
    for name, record in content["steps"].items():
        why = f": {record['why']}" if record["why"] else ""
        lines = [f"{name}: {record['outcome']}, {record['seconds']:.0f} s{why}"]
        result = record.get("result", {})
        lines += result.get("summary", []) or measured(result)
        parts.append("\n  ".join(lines) + "\n")
    return "\n".join(parts)


def measured(result: dict) -> list[str]:
    """Medians and memory of a benchmark: a line for each task, its systems beside each other."""
    lines = []
    for precision, systems in result.get("systems", {}).items():
        tasks = dict.fromkeys(task for system in systems.values() for task in system["seconds"])
        for task in tasks:
            of_task = {name: system for name, system in systems.items() if task in system["seconds"]}
            lines.append(f"{precision}, {task}:")
            for name, system in of_task.items():
                seconds = system["seconds"][task]
                time = f"{1000 * statistics.median(seconds):.1f} ms" if seconds else "too little memory"
                # Where no task has its own, as on a CPU, the memory is that of all tasks.
                memory = system["task_memory"].get(task, system["memory"])
                lines.append(f"  {name}: {time}, peak {memory / 2**30:.2f} GiB")
    return lines
