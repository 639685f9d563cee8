// Puts each card that the subscriber sends at the top, or in the place of its earlier self.
const events = document.getElementById("events");
const live = document.getElementById("live");
const source = new EventSource("/events");

source.onmessage = ({ data }) => {
  const card = new DOMParser().parseFromString(data, "text/html").querySelector("article");
  const earlier = document.getElementById(card.id);
  const message = card.querySelector("details");
  if (message) message.open = earlier ? earlier.querySelector("details").open : true;
  if (earlier) earlier.replaceWith(card);
  else {
    for (const opened of events.querySelectorAll("details[open]")) opened.open = false;
    events.prepend(card);
  }
};
source.onopen = () => { live.textContent = "Live."; };
source.onerror = () => { live.textContent = "Not live: the subscriber does not respond."; };
