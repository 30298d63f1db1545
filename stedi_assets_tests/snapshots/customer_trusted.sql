SELECT
  "t13"."serialnumber",
  "t13"."sharewithpublicasofdate",
  "t13"."birthday",
  "t13"."registrationdate",
  "t13"."sharewithresearchasofdate",
  "t13"."customername",
  "t13"."person" AS "email",
  "t13"."lastupdatedate",
  "t13"."phone",
  "t13"."sharewithfriendsasofdate"
FROM (
  SELECT
    "t8"."serialnumber",
    "t8"."sharewithpublicasofdate",
    "t8"."birthday",
    "t8"."registrationdate",
    "t8"."sharewithresearchasofdate",
    "t8"."customername",
    "t8"."email",
    "t8"."lastupdatedate",
    "t8"."phone",
    "t8"."sharewithfriendsasofdate",
    "t8"."person",
    "t8"."source_file",
    "t8"."landed_at",
    "t8"."rank"
  FROM (
    SELECT
      *
    FROM (
      SELECT
        "t0"."serialnumber",
        "t0"."sharewithpublicasofdate",
        "t0"."birthday",
        "t0"."registrationdate",
        "t0"."sharewithresearchasofdate",
        "t0"."customername",
        "t0"."email",
        "t0"."lastupdatedate",
        "t0"."phone",
        "t0"."sharewithfriendsasofdate",
        "t0"."person",
        "t0"."source_file",
        "t0"."landed_at",
        ROW_NUMBER() OVER (
          PARTITION BY "t0"."person"
          ORDER BY COALESCE("t0"."lastupdatedate", "t0"."registrationdate", "t0"."landed_at") DESC, "t0"."registrationdate" DESC, "t0"."sharewithresearchasofdate" IS NOT NULL ASC, "t0"."serialnumber" ASC, "t0"."sharewithpublicasofdate" ASC, "t0"."birthday" ASC, "t0"."sharewithresearchasofdate" ASC, "t0"."customername" ASC, "t0"."lastupdatedate" ASC, "t0"."phone" ASC, "t0"."sharewithfriendsasofdate" ASC
          ROWS BETWEEN UNBOUNDED PRECEDING AND UNBOUNDED FOLLOWING
        ) - 1 AS "rank"
      FROM "customer_landing" AS "t0"
    ) AS "t5"
    WHERE
      "t5"."rank" = 0 AND "t5"."sharewithresearchasofdate" IS NOT NULL
  ) AS "t8"
  ANTI JOIN (
    SELECT
      "t10"."person"
    FROM (
      SELECT
        "t6"."person",
        MAX("t6"."landed_at") AS "unreadable_at"
      FROM (
        SELECT
          "t3"."source",
          "t3"."source_file",
          "t3"."position",
          "t3"."raw",
          "t3"."reason",
          "t3"."landed_at",
          UNNEST(STR_SPLIT("t3"."person", '')) AS "person"
        FROM (
          SELECT
            *
          FROM "quarantine" AS "t1"
          WHERE
            "t1"."source" = 'customer' AND "t1"."person" IS NOT NULL
        ) AS "t3"
      ) AS "t6"
      GROUP BY
        1
    ) AS "t10"
    ANTI JOIN (
      SELECT
        "t0"."person",
        MAX("t0"."landed_at") AS "readable_at"
      FROM "customer_landing" AS "t0"
      GROUP BY
        1
    ) AS "t4"
      ON "t10"."person" = "t4"."person" AND "t10"."unreadable_at" < "t4"."readable_at"
  ) AS "t12"
    ON "t8"."person" = "t12"."person"
) AS "t13"
