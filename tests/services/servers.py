"""Real servers for the recipes of clients: package pins and what starts them, each at its usual port."""
import os
import signal

import hello
import lab
from service import Service

POSTGRES = "/usr/lib/postgresql/15/bin"
HERE = os.path.dirname(os.path.abspath(__file__))


def memcached():
    return Service(11211, "memcached -u memcache -l 127.0.0.1", hello.memcached)


def redis():
    return Service(6379, "redis-server --bind 127.0.0.1 --save '' --dir /tmp", hello.redis)


def postgresql():
    lab.sh(f"install -d -o postgres /run/postgresql /tmp/pg && setpriv --reuid postgres --regid postgres --init-groups {POSTGRES}/initdb -A trust -U postgres --no-sync -D /tmp/pg/d")
    one = Service(5432, f"{POSTGRES}/postgres -D /tmp/pg/d -k /run/postgresql -h 127.0.0.1", hello.postgres(), user="postgres")
    one.stop = signal.SIGINT
    return one


def mariadb():
    lab.sh("rm -rf /var/lib/mysql /run/mysqld && install -d -o mysql /var/lib/mysql /run/mysqld")
    lab.sh("mariadb-install-db --user=mysql --auth-root-authentication-method=normal --skip-test-db")
    lab.sh("echo 'create or replace user u@localhost;' >/var/lib/mysql/init.sql")
    return Service(3306, "mariadbd --user=mysql --init-file=/var/lib/mysql/init.sql", hello.mysql_login(b"u"))


def ldap():
    lab.sh("install -d /tmp/ldap")
    with open("/tmp/slapd.conf", "w") as file:
        file.write("include /etc/ldap/schema/core.schema\nmodulepath /usr/lib/ldap\nmoduleload back_mdb\ndatabase mdb\nsuffix o=a\ndirectory /tmp/ldap\n")
    return Service(389, "prlimit --nofile=1024 slapd -f /tmp/slapd.conf -h ldap://127.0.0.1 -d 0", hello.ldap)


def nginx():
    """Port 8080; /big gives a body that doesn't come at once."""
    lab.sh("head -c 3000000 /dev/zero >/tmp/big; chmod a+rx /tmp; rm -f /etc/nginx/sites-enabled/*")
    lab.sh("echo 'server { listen 127.0.0.1:8080; location = /big { alias /tmp/big; } location / { return 200 ok; } }' >/etc/nginx/conf.d/a.conf")
    return Service(8080, "nginx -g 'daemon off;'", hello.http())


def rabbitmq():
    lab.PATIENCE = 120
    lab.sh("hostname a; grep -q ' a$' /etc/hosts || echo '127.0.0.1 a' >>/etc/hosts; install -d -o rabbitmq /run/rabbitmq")
    environment = {"HOME": "/var/lib/rabbitmq", "RABBITMQ_NODENAME": "r@localhost", "ERL_EPMD_ADDRESS": "127.0.0.1"}
    return Service(5672, "prlimit --nofile=1024 /usr/lib/rabbitmq/bin/rabbitmq-server", hello.amqp(0), user="rabbitmq", environment=environment)


def mongodb():
    """Not MongoDB: a small server that speaks enough of its protocol for a driver's pool."""
    return Service(27017, f"python3 {HERE}/mongo_stub.py", lambda one: None)


PINS = {
    "memcached": ["memcached=1.6.18-1+deb12u1"],
    "redis": ["redis-server=5:7.0.15-1~deb12u10", "redis-tools=5:7.0.15-1~deb12u10"],
    "postgresql": ["postgresql-15=15.20-0+deb12u1", "postgresql-client-15=15.20-0+deb12u1"],
    "mariadb": [f"{name}=1:10.11.19-0+deb12u1" for name in ("mariadb-server", "mariadb-server-core", "mariadb-client", "mariadb-client-core")],
    "ldap": ["slapd=2.5.13+dfsg-5"],
    "nginx": ["nginx=1.22.1-9+deb12u11", "nginx-common=1.22.1-9+deb12u11"],
    "rabbitmq": ["rabbitmq-server=3.10.8-1.1+deb12u1"],
    "mongodb": [],
}
