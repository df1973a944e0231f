// A button that puts something away for good: a cookie tells the server so when the page is opened again.

const YEAR = 365 * 24 * 3600;

export default function ({ parentElement, data, setTriggerValue }) {
  if (parentElement.querySelector(".controls")) return;
  const row = document.createElement("div");
  row.className = "controls";
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "× Dismiss";
  button.title = "Put it away, in this browser, for good";
  button.addEventListener("click", () => {
    document.cookie = `${data.cookie}=dismissed; path=/; max-age=${YEAR}; samesite=lax`;
    setTriggerValue("dismissed", true);
  });
  row.append(button);
  parentElement.append(row);
}
