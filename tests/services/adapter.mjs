// The same for Node: adapter.mjs FILE, which exports take, use, give and leak (or burst and one), BOUND and start.
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const space = await import(pathToFileURL(process.argv[2]));
const kept = [];
const burst = async (count) => {
  if (space.burst) return space.burst(count);
  const handles = [];
  for (let i = 0; i < count; i++) handles.push(await space.take());
  for (const handle of handles) await space.use(handle);
  for (const handle of handles) await space.give(handle);
};
const one = async () => {
  if (space.one) return space.one();
  const handle = await space.take();
  await space.use(handle);
  await space.give(handle);
};
process.on("uncaughtException", (why) => { process.stderr.write(`uncaught ${why.message}\n`); });
if (space.start) await space.start();
for await (const line of createInterface({ input: process.stdin })) {
  const [word, count] = line.split(" ");
  let told = "ok";
  try {
    if (word === "burst") await burst(Number(count));
    else if (word === "one") await one();
    else if (word === "leak") kept.push(await space.leak());
    else if (word === "bound") told = String(space.BOUND);
  } catch (why) {
    told = `${why.code ?? why.name}: ${String(why.message).slice(0, 90)}`.replaceAll("\n", " ");
  }
  process.stdout.write(told + "\n");
}
process.exit(0);
