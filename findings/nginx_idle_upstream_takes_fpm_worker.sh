#!/usr/bin/env bash
# nginx's upstream keepalive to PHP-FPM saves connects; an idle connection costs a descriptor.
# Seen: it costs a worker. A PHP-FPM process serves one connection until that ends. Two requests at once through one
# nginx leave two idle connections, and with pm.max_children = 2 the machine does nothing, but the next nginx's request
# waits in the queue (here: over 10 s) until keepalive_timeout (60 s) ends one. PHP-FPM's status page says "active processes: 2,
# idle: 0" and, asked for all, "Reading headers" for both. `keepalive 8` is for each nginx worker process.
# nginx 1.22.1-9+deb12u11, php8.2-fpm 8.2.36-1~deb12u1 (Debian 12)
V=8.2.36-1~deb12u1
DEBIAN="nginx=1.22.1-9+deb12u11 php8.2-fpm=$V php8.2-cli=$V php8.2-common=$V php8.2-opcache=$V curl"
. "$(dirname "$0")/lib.sh"
install -d /run/php
sed -i 's#^listen =.*#listen = 127.0.0.1:9000#; s#^;pm.status_path.*#pm.status_path = /status#
    s#^;pm.status_listen.*#pm.status_listen = 127.0.0.1:9001#; s/^pm = .*/pm = static/; s/^pm.max_children.*/pm.max_children = 2/' \
    /etc/php/8.2/fpm/pool.d/www.conf
echo '<?php usleep(300000); echo "ok";' >/var/www/html/a.php
php-fpm8.2 -F -O 2>/dev/null &
listens 9000
for n in 1 2; do
    cat >/tmp/n$n.conf <<N
pid /tmp/n$n.pid; error_log stderr crit; worker_processes 1; daemon off;
events {}
http {
    access_log off;
    upstream php { server 127.0.0.1:9000; keepalive 8; }
    server {
        listen 127.0.0.1:808$n;
        location /a.php { fastcgi_pass php; fastcgi_keep_conn on; include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME /var/www/html/a.php; }
        location /status { fastcgi_pass 127.0.0.1:9001; include /etc/nginx/fastcgi_params; fastcgi_param SCRIPT_FILENAME /status; }
    }
}
N
    nginx -c /tmp/n$n.conf &
    listens 808$n
done
curl -s 127.0.0.1:8081/a.php >a &
one=$!
curl -s 127.0.0.1:8081/a.php >b &
wait "$one" $!
seen "both requests of the first nginx" okok "$(cat a b)"
sleep 1
seen "idle connections" 2 "$(count established 'sport = :9000')"
seen "a request of the second one within 10 s" "" "$(curl -s -m 10 127.0.0.1:8082/a.php || true)"
curl -s -m 80 127.0.0.1:8082/a.php >c &
two=$!
sleep 1
full=$(curl -s '127.0.0.1:8081/status?full')
seen "idle processes" 0 "$(awk '/^idle processes/ { print $3 }' <<<"$full")"
seen "states" "Reading headers,Reading headers" "$(awk -F': *' '/^state/ { print $2 }' <<<"$full" | paste -sd,)"
wait "$two"
seen "and after the idle ones have ended" ok "$(cat c)"
done_
