// Of FramePanel's front end: searching with a regular expression that must not freeze the page.

const REGULAR_LIMIT_MILLISECONDS = 500;

/**
 * Searches rows with a regular expression in a worker of its own, which is ended when it takes longer than half a second:
 * an expression that backtracks for ever must not freeze the page. `search(source, rows)` calls `onFound(keys)`.
 */
function regularSearch(onFound, onProblem) {
  const script = `onmessage = ({ data: { source, rows } }) => {
    postMessage("begins");
    const expression = new RegExp(source, "i");
    postMessage(rows.filter(([, text]) => expression.test(text)).map(([key]) => key));
  };`;
  let worker = null;
  let address = "";
  let limit = 0;
  let waiting = [];
  let source = "";
  const stop = () => {
    clearTimeout(limit);
    worker?.terminate();
    if (address) URL.revokeObjectURL(address);
    [worker, address, waiting] = [null, "", []];
  };
  const begin = () => {
    const rows = waiting;
    waiting = [];
    worker.busy = true;
    worker.postMessage({ source, rows });
  };
  const onMessage = ({ data }) => {
    if (data === "begins") {
      limit = setTimeout(() => {
        stop();
        onProblem("This expression takes longer than half a second, so it was stopped. Make it simpler; nested repetitions such as (a+)+ take for ever.");
      }, REGULAR_LIMIT_MILLISECONDS);
      return;
    }
    clearTimeout(limit);
    worker.busy = false;
    onFound(data);
    if (waiting.length) begin();
  };
  const search = (wanted, rows) => {
    if (wanted !== source) stop();
    source = wanted;
    waiting.push(...rows);
    try {
      if (!worker) {
        address = URL.createObjectURL(new Blob([script], { type: "text/javascript" }));
        worker = new Worker(address);
        worker.onmessage = onMessage;
        worker.onerror = () => onProblem("This page does not allow workers, which a regular expression needs. Search for plain text instead.");
      }
      if (!worker.busy && waiting.length) begin();
    } catch (error) {
      onProblem(`A regular expression needs a worker, and the page refuses it: ${error.message}`);
    }
  };
  return { search, stop };
}

/** What is wrong with a regular expression, or an empty text. */
export function regularProblem(source) {
  try {
    return new RegExp(source, "i") && "";
  } catch (error) {
    return `This is no regular expression: ${error.message.replace(/^Invalid regular expression: /, "")}. Mend it, or switch .* off to search for plain text.`;
  }
}
