"""The recorded pairs: a client library with its server, by the recipes of tests/services, healthy or with a mistake."""
import os
import re
import runpy
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
SERVICES = os.path.join(HERE, "..", "services")
sys.path.insert(0, SERVICES)

import client
import hello
import servers
from service import Service

PROFILES = {"memcached": "memcached", "redis": "redis", "postgresql": "postgresql", "mariadb": "mysql", "ldap": "ldap", "nginx": "http",
            "rabbitmq": "rabbitmq", "go": "http"}


def go():
    return Service(8080, "/mnt/go_server", hello.http())


class Pair:
    """server: more options of its command. leak: what replaces the recipe's mistake. pace: seconds from one mistake to the next."""

    def __init__(self, recipe, server="", service=None, pace=None, leak=None, mistake=None, options=(), who="client", program=None,
                 is_harmless=False, width=None):
        self.recipe, self.server, self.pace, self.leak, self.options, self.who, self.program = recipe, server, pace, leak, list(options), who, program
        self.label = "leaking" if pace and not is_harmless else "healthy"
        found = []
        usual, client.Recipe.run = client.Recipe.run, lambda self: found.append(self)
        try:
            runpy.run_path(os.path.join(SERVICES, recipe))
        finally:
            client.Recipe.run = usual
        self.uses = found[0]
        self.service = service or self.uses.server_name
        self.mistake = (mistake or self.uses.mistake) if pace else None
        self.width = width or self.uses.width

    def start_of(self):
        return globals()[self.service] if self.service == "go" else getattr(servers, self.service)

    def profile(self):
        return PROFILES[self.service]

    def code(self):
        code = self.uses.code
        if self.leak and self.uses.npm:
            return re.sub(r"export const leak = .*", lambda _: "export const leak = " + self.leak, code)
        if self.leak and not self.leak.startswith("async "):
            return f"{code}\ndef leak():\n    c = {self.leak}; return c\n"
        return f"{code}\n{self.leak or ''}\n"


HEALTHY = {
    "redis-py": Pair("redis-py", "--timeout 60"),
    "redis-py-bursts": Pair("redis-py", "--timeout 20", width=12),
    "pymemcache": Pair("pymemcache", "-o idle_timeout=60"),
    "pymemcache-bursts": Pair("pymemcache", "-o idle_timeout=30", width=12),
    "psycopg-pool": Pair("psycopg-pool"),
    "sqlalchemy": Pair("sqlalchemy", "-c idle_session_timeout=60s"),
    "asyncpg": Pair("asyncpg"),
    "pymysql": Pair("pymysql"),
    "node-mysql2": Pair("node-mysql2", "--wait-timeout=60"),
    "node-pg": Pair("node-pg"),
    "node-ioredis": Pair("node-ioredis", "--timeout 60"),
    "node-undici": Pair("node-undici"),
    "requests": Pair("requests"),
    "aiohttp": Pair("aiohttp"),
    "ldap3": Pair("ldap3"),
    "node-amqplib": Pair("node-amqplib"),
    "go-net-http": Pair("go-net-http", service="go"),
    # A mistake that leaves nothing: the connector closes after 15 s without a request, also that of a forgotten session.
    "aiohttp-forgotten": Pair("aiohttp", pace=5, options=["--side", "client"], is_harmless=True),
}
LEAKING = {
    "psycopg-leak": Pair("psycopg", pace=12),
    "psycopg-pool-stuck": Pair("psycopg-pool", pace=30),
    "sqlalchemy-leak": Pair("sqlalchemy", pace=12, mistake="an engine per request, not disposed of",
                            leak='sqlalchemy.create_engine("postgresql+psycopg://postgres@127.0.0.1/postgres"); c.connect().close()'),
    "asyncpg-leak": Pair("asyncpg", pace=12, mistake="a connection per request, not closed", 
                         leak='async def leak(): return await asyncpg.connect(host="127.0.0.1", user="postgres")'),
    "pymysql-leak": Pair("pymysql", pace=8),
    "node-mysql2-leak": Pair("node-mysql2", pace=8, mistake="a pool per request, not ended",
                             leak='async () => { const c = mysql.createPool({ host: "127.0.0.1", user: "u" }); await c.query("select 1"); return c; };'),
    "node-pg-leak": Pair("node-pg", pace=12, mistake="a client per request, not ended",
                         leak='async () => { const c = new pg.Client({ host: "127.0.0.1", user: "postgres" }); c.on("error", () => {}); await c.connect(); return c; };'),
    "node-pg-stuck": Pair("node-pg", pace=30),
    "redis-py-leak": Pair("redis-py", "--timeout 60", pace=5, mistake="a client per request, kept, of a server with timeout 60",
                          leak='redis.Redis(host="127.0.0.1", single_connection_client=True); c.ping()'),
    "pymemcache-leak": Pair("pymemcache", "-o idle_timeout=60", pace=5, mistake="a client per request, kept, of a server with idle_timeout 60",
                            leak='__import__("pymemcache").Client(("127.0.0.1", 11211)); c.get("a")'),
    "pymemcache-full": Pair("pymemcache", pace=2.5),
    "node-ioredis-leak": Pair("node-ioredis", "--maxclients 300", pace=6, options=["--limit", "300"]),
    "ldap3-leak": Pair("ldap3", "idletimeout 60", pace=5, mistake="a bind per login, not unbound, at a server with idletimeout 60"),
    "aiohttp-leak": Pair("aiohttp", pace=8, options=["--side", "client"], mistake="a response whose body is not read",
                         leak='async def leak(): return await session.get("http://127.0.0.1:8080/big")'),
    "requests-leak": Pair("requests", pace=5, options=["--side", "client"]),
    "node-undici-leak": Pair("node-undici", pace=5, options=["--side", "client"]),
    "go-net-http-leak": Pair("go-net-http", service="go", pace=5),
    "go-server-leak": Pair("go-net-http", service="go", pace=5, who="server", program="/mnt/client-stuck",
                           mistake="a handler that waits for ever, its clients close after a second"),
    "node-amqplib-leak": Pair("node-amqplib", pace=4, options=["--limit", "829"]),
}
ALL = {**HEALTHY, **LEAKING}
