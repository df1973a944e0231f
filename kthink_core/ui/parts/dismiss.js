// A button that puts something away for good: a cookie tells the server so when the page is opened again.

const YEAR = 365 * 24 * 3600;

/** @param {Component<{ cookie: string }>} component */
export default function ({ parentElement, data, setTriggerValue }) {
  const row = newControls(parentElement);
  if (!row) return;
  addButton(row, "× Dismiss", "Put it away, in this browser, for good").addEventListener("click", () => {
    document.cookie = `${data.cookie}=dismissed; path=/; max-age=${YEAR}; samesite=lax`;
    setTriggerValue("dismissed", true);
  });
}
