# A folder for the history of each user that a scheduler runs checks as, as packaging/debian/postinst does.
install -d -m 755 /var/lib/connleak
for user in nagios nrpe icinga sensu zabbix; do
    if uid=$(id -u "$user" 2>/dev/null); then
        install -d -m 700 -o "$uid" -g "$(id -g "$user")" "/var/lib/connleak/$uid"
    fi
done
