// The script of `__init__.py` once more, for Node.
type Turn = { tool: string; arguments: Record<string, unknown> } | { answer: string };

const FILE = /File: ([^\n]+?\.mp4)/;
const TASK = /task_id="(\w+)"/;
const MOST_CALLS = 60;

export function scripted(): { next(seen: string | undefined): Turn } {
  const wait = process.env.MODEL_WAIT ? { wait_seconds: Number(process.env.MODEL_WAIT) } : {};
  const show = (what: object) => console.log(JSON.stringify(what));
  let calls = 0;
  let asked = 0;
  let last: { tool: string; arguments: Record<string, unknown> };

  function call(tool: string, given: Record<string, unknown>): Turn {
    last = { tool, arguments: given };
    calls += 1;
    show({ calls: tool, arguments: given });
    asked = performance.now();
    return last;
  }

  function next(seen: string | undefined): Turn {
    if (seen === undefined) return call("text_to_video", { prompt: "a red kite over the sea", ...wait });
    show({ saw: seen, seconds: Math.round((performance.now() - asked) / 10) / 100 });
    const file = FILE.exec(seen);
    if (file) return { answer: `Your video is ready: ${file[1]}` };
    if (calls === MOST_CALLS) return { answer: "It is still being made." };
    const task = TASK.exec(seen);
    if (!task) return call(last.tool, last.arguments);
    if (process.env.MODEL_LETS_GO) return { answer: `It is being made: ${task[1]}` };
    return call("get_task", { task_id: task[1], ...wait });
  }

  return { next };
}
